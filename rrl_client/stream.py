"""Sends the queries of a client over long-lived streams, one for each replica.

Everything runs in one event loop. For each replica, one task opens its stream, reads it and reopens
it; another sends the messages of the dispatcher. Queries that arrive while a message is being sent
go together into the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from numpy.typing import NDArray

from rrl_client import errors
from rrl_client.channel import backoff_seconds
from rrl_client.codec import TeacherAnswer, decode_answer
from rrl_client.dispatch import Dispatcher, Replica, StreamQuery
from rrl_client.errors import TeacherError
from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc

WAITING_ROWS = 4096
"""Rows that may wait for credit; then further queries are refused, as an event loop cannot block
its callers."""

MEMORY_ROWS = 1024
"""Rows of shared memory: the default credit of a stream. Pages take memory only once used."""

_TICK_SECONDS = 0.05
"""Precision of deadlines."""


class StreamPool:
    """The streams of one client; create and use it in one event loop.

    Attributes:
        break_count: Number of times that an open stream has ended; after that, another server may
            answer.
    """

    def __init__(
        self,
        channels: Sequence[tuple[str, grpc.aio.Channel]],
        name: str,
        *,
        count_replicas: Callable[[], int] | None = None,
    ) -> None:
        """Prepare; nothing is sent before the first query.

        Args:
            channels: Address and channel of each stream.
            name: Name of the teacher in error messages.
            count_replicas: Returns the present number of replicas of the first channel; called in a
                thread when a stream has ended. None if the number is fixed.
        """
        self._loop = asyncio.get_running_loop()
        self._dispatcher = Dispatcher([address for address, _ in channels], name)
        self._channels = [channel for _, channel in channels]
        self._count_replicas = count_replicas
        self._name = name
        self._work = {replica: asyncio.Event() for replica in self._dispatcher.replicas}
        self._tasks: list[asyncio.Task[None]] = []
        self._reopen = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self.break_count = 0

    def submit(
        self, observations: NDArray[Any], request: teacher_pb2.EvaluateRequest, deadline: float
    ) -> asyncio.Future[TeacherAnswer]:
        """Send a query; cancelling the future gives it up.

        Args:
            observations: [B, ...], in the byte order of this machine; must not change until the
                future is done.
            request: The request, without the observations.
            deadline: Time in seconds of `time.monotonic`, by which the future gets an answer or an
                error.
        """
        future: asyncio.Future[TeacherAnswer] = self._loop.create_future()
        if self._is_closed:
            future.set_exception(errors.closed(self._name))
            return future
        if not self._tasks:
            self._start()
        if self._dispatcher.waiting_rows >= WAITING_ROWS:
            future.set_exception(
                errors.overloaded(
                    self._name, f"{self._dispatcher.waiting_rows} rows wait here for credit"
                )
            )
            return future
        query = StreamQuery(observations, request, deadline, future)
        future.add_done_callback(lambda done: self._cancel(query) if done.cancelled() else None)
        self._dispatcher.submit(query, time.monotonic())
        self._flush()
        self._wake_by(deadline)
        return future

    def share_memory(self, row_bytes: int, rows: int = MEMORY_ROWS) -> None:
        """Offer every server shared memory for observations; only for servers on this host.

        Args:
            row_bytes: Bytes of one observation; observations of another size go into messages.
            rows: Number of observations that fit into the memory.
        """
        self._dispatcher.share_memory(row_bytes, rows)
        self._flush()

    def note_presence(self) -> None:
        """Note that the teacher answered another call: streams that wait to reopen do so now."""
        self._dispatcher.note_presence()
        self._reopen.set()

    async def close(self) -> None:
        """End all streams; unanswered queries fail."""
        self._is_closed = True
        self._dispatcher.close()
        self._flush()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def abandon(self) -> None:
        """Release system resources, after the event loop has ended."""
        self._is_closed = True
        self._dispatcher.close()

    def _start(self) -> None:
        for replica, channel in zip(self._dispatcher.replicas, self._channels, strict=True):
            self._open(replica, channel)

    def _open(self, replica: Replica, channel: grpc.aio.Channel) -> None:
        stub = teacher_pb2_grpc.TeacherStub(channel)
        self._tasks.append(self._loop.create_task(self._keep_open(replica, stub)))

    async def _grow(self) -> None:
        """Open a stream to each new replica."""
        if self._count_replicas is None:
            return
        count = await asyncio.to_thread(self._count_replicas)
        replicas = self._dispatcher.replicas
        for _ in range(count - len(replicas)):
            replica = self._dispatcher.add_replica(replicas[0].address)
            self._work[replica] = asyncio.Event()
            self._open(replica, self._channels[0])

    def _cancel(self, query: StreamQuery) -> None:
        self._dispatcher.cancel(query)
        self._flush()

    def _flush(self) -> None:
        """Wake senders that have a message to send, and complete the futures of settled queries."""
        for replica, work in self._work.items():
            if replica.has_something_to_send:
                work.set()
        for query in self._dispatcher.take_settled():
            _hand_out(query, self._name)

    def _wake_by(self, when: float) -> None:
        """Have `_tick` called soon after a time, in seconds of `time.monotonic`."""
        at = self._loop.time() + max(when - time.monotonic(), 0.0) + _TICK_SECONDS
        if self._timer is None or at < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._dispatcher.tick(time.monotonic())
        self._flush()
        due = self._dispatcher.next_event
        if due < math.inf:
            self._wake_by(due)

    async def _keep_open(self, replica: Replica, stub: Any) -> None:
        failures = 1
        while True:
            error = await self._converse(replica, stub)
            # gRPC ignores a cancellation that arrives while it opens a call.
            if self._is_closed:
                return
            was_open = replica.granted > 0
            self.break_count += was_open
            failures = 1 if was_open else failures + 1
            self._dispatcher.broken(replica, error, time.monotonic())
            self._flush()
            if was_open:
                await self._grow()
            self._reopen.clear()
            await self._wait_to_reopen(backoff_seconds(failures) * random.uniform(0.8, 1.2))

    async def _wait_to_reopen(self, seconds: float) -> None:
        # Not asyncio.wait_for, which ignores a cancellation that arrives together with the event.
        reopened = asyncio.ensure_future(self._reopen.wait())
        try:
            await asyncio.wait((reopened,), timeout=seconds)
        finally:
            reopened.cancel()

    async def _converse(self, replica: Replica, stub: Any) -> TeacherError | None:
        """Run one stream from its start to its end; returns why it ended."""
        call = stub.EvaluateStream()
        sender = self._loop.create_task(self._send(replica, call))
        try:
            while (frame := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
                self._take(replica, frame)
            return None
        except grpc.RpcError as error:
            return errors.error_of_stream(error, replica.address)
        finally:
            sender.cancel()
            call.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    def _take(self, replica: Replica, frame: teacher_pb2.AnswerFrame) -> None:
        self._dispatcher.arrived(replica, frame, time.monotonic())
        if replica.is_draining:
            self._work[replica].set()
        self._flush()
        if (retry := self._dispatcher.next_retry) < math.inf:
            self._wake_by(retry)

    async def _send(self, replica: Replica, call: Any) -> None:
        work = self._work[replica]
        # The reader handles the error with which a stream ends.
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
            while not replica.is_draining:
                if not replica.has_something_to_send:
                    work.clear()
                    await work.wait()
                elif (frame := self._dispatcher.take_frame(replica, time.monotonic())) is not None:
                    await call.write(frame)
            await call.done_writing()


def _hand_out(query: StreamQuery, name: str) -> None:
    future, outcome = query.owner, query.outcome
    if future.done():
        return
    if isinstance(outcome, teacher_pb2.EvaluateResponse):
        try:
            future.set_result(decode_answer(outcome, query.rows))
        except ValueError as error:
            future.set_exception(errors.no_teacher(name, error))
    else:
        future.set_exception(outcome)
