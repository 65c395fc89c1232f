"""An asyncio client's use of the same-host path: the loop itself reads the socket.

Finding, leaving and returning are as in `same_host`. Queries submitted in one turn of the
loop are sent together; one that finds no free rows goes over gRPC, since a loop cannot wait.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import time
from typing import Any, NamedTuple

import grpc
from numpy.typing import NDArray

from rrl_client import codec
from rrl_client import errors as client_errors
from rrl_client.answers import TeacherAnswer
from rrl_client.codec import TeacherDescription
from rrl_client.requests import Priority, Refusal, RefusalCode
from rrl_client.same_host import (
    DESCRIBE_SECONDS,
    RETURN_SECONDS,
    SecondAttempts,
    answer_of,
    connect,
    error_of,
    is_lost,
    reserve,
    usable_address,
    wait_when_full,
)
from rrl_client.settings import ClientSettings
from rrl_client.v1 import teacher_pb2
from services.teacher.same_host.connection import SameHostConnection
from services.teacher.same_host.future import SameHostAnswer, SameHostFuture

_LOG = logging.getLogger(__name__)
_TICK_SECONDS = 0.05

_Answer = asyncio.Future[TeacherAnswer]
_Attempts = SecondAttempts[_Answer]


class _Query(NamedTuple):
    """What a caller asked, and where it waits."""

    observations: NDArray[Any]
    deadline: float
    priority: Priority
    attempts: _Attempts
    future: _Answer


class AsyncSameHostPath:
    """The shared memory of one client, while there is any; lives in one event loop."""

    def __init__(self, settings: ClientSettings, stub: Any) -> None:
        """Begin without; `offer` connects.

        Args:
            settings: The client's.
            stub: To describe the teacher again with.
        """
        self._settings = settings
        self._stub = stub
        self._loop = asyncio.get_running_loop()
        self._connection: SameHostConnection | None = None
        self._descriptor = -1
        self._under_way: dict[SameHostFuture, _Query] = {}
        self._waiting: collections.deque[_Query] = collections.deque()
        self._is_flushing = False
        self._is_ticking = False
        self._is_closed = False
        # When to look for the path by ourselves; None while there is nothing to find.
        self._look_at: float | None = 0.0
        self._looking: asyncio.Task[None] | None = None

    @property
    def connection(self) -> SameHostConnection | None:
        """What to ask now; None while the path is not there."""
        if self._connection is None:
            if self._look_at is not None and time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + DESCRIBE_SECONDS
                self._looking = self._loop.create_task(self._look())
        elif self._connection.closed:
            self._lost()
        return self._connection

    def offer(self, description: TeacherDescription) -> None:
        """Connect to where a description says, if it says so and there is no connection."""
        if self._is_closed or self._connection is not None:
            return
        address = usable_address(description)
        self._look_at = None
        if address is None:
            return
        self._connection = connect(address, self._settings, is_watched=True)
        if self._connection is None:
            self._look_at = time.monotonic() + DESCRIBE_SECONDS
        else:
            self._descriptor = self._connection.fileno()
            self._loop.add_reader(self._descriptor, self._ready)

    def close(self) -> None:
        """End it; queries under way fail. Also for after the event loop has ended."""
        self._is_closed = True
        self._look_at = None
        if self._looking is not None and not self._looking.done():
            self._looking.cancel()
        if self._connection is not None:
            self._drop(self._connection)

    def submit(
        self,
        observations: NDArray[Any],
        deadline: float,
        priority: Priority,
        attempts: SecondAttempts[asyncio.Future[TeacherAnswer]],
        *,
        is_awaited: bool,
    ) -> asyncio.Future[TeacherAnswer] | None:
        """Ask over shared memory; None while the path is not there.

        Arguments are those of `SameHostPath.submit`.

        Raises:
            TeacherRejected: The observations do not fit.
        """
        if self.connection is None:
            return None
        future: _Answer = self._loop.create_future()
        kept = observations if is_awaited else observations.copy()
        query = _Query(kept, deadline, priority, attempts, future)
        # In order: nobody overtakes those that wait for rows.
        if self._waiting or not self._begin(query):
            self._waiting.append(query)
        if not self._is_ticking:
            self._is_ticking = True
            self._loop.call_later(_TICK_SECONDS, self._tick)
        return future

    def _begin(self, query: _Query) -> bool:
        """Send a query; False while there are no rows for it."""
        connection = self._connection
        if connection is None:
            self._refused(Refusal(RefusalCode.UNAVAILABLE, "the connection was lost"), query)
            return True
        try:
            reservation = reserve(connection, query.observations, 0.0)
            timeout = max(query.deadline - time.monotonic(), 0.001)
            inner = connection.submit_reserved(reservation, timeout, query.priority, flush=False)
        except Refusal as refusal:
            if refusal.code is RefusalCode.RESOURCE_EXHAUSTED:
                return False
            self._refused(refusal, query)
            return True
        self._under_way[inner] = query
        inner.add_done_callback(self._settled)
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)
        return True

    def _begin_waiting(self) -> None:
        while self._waiting and (self._waiting[0].future.done() or self._begin(self._waiting[0])):
            self._waiting.popleft()

    def _flush(self) -> None:
        self._is_flushing = False
        if self._connection is not None:
            self._connection.flush()

    def _ready(self) -> None:
        connection = self._connection
        if connection is not None:
            connection.process_ready()
            if connection.closed:
                self._lost()
            self._begin_waiting()

    def _settled(self, inner: SameHostFuture) -> None:
        query, outcome = self._under_way.pop(inner), inner.outcome
        # After the end of the loop nobody waits.
        if query.future.done() or self._loop.is_closed():
            return
        if isinstance(outcome, SameHostAnswer):
            query.future.set_result(answer_of(outcome))
            return
        assert outcome is not None, "settled futures have an outcome"
        self._refused(outcome, query)

    def _refused(self, refusal: Refusal, query: _Query) -> None:
        attempts, future, kept = query.attempts, query.future, query.observations
        after = wait_when_full(refusal, query.deadline, attempts.made)
        if attempts.when_lost is not None and is_lost(refusal) and not self._is_closed:
            _follow(attempts.when_lost(kept), future)
        elif attempts.when_full is not None and after is not None:
            again = attempts.when_full
            self._loop.call_later(after, lambda: _follow(again(kept), future))
        else:
            future.set_exception(error_of(refusal, self._settings.name))

    def _tick(self) -> None:
        """Give up what its caller gave up, or what is past its deadline."""
        now = time.monotonic()
        for inner, query in [*self._under_way.items()]:
            if query.future.done() or query.deadline + _TICK_SECONDS < now:
                self._expired(query)
                inner.cancel()
        for query in self._waiting:
            if query.deadline < now:
                self._expired(query)
        self._begin_waiting()
        self._is_ticking = bool(self._under_way or self._waiting)
        if self._is_ticking:
            self._loop.call_later(_TICK_SECONDS, self._tick)

    def _expired(self, query: _Query) -> None:
        if not query.future.done():
            query.future.set_exception(client_errors.timed_out(self._settings.name))

    def _lost(self) -> None:
        if self._connection is not None:
            self._drop(self._connection)
            self._look_at = time.monotonic() + RETURN_SECONDS
            _LOG.warning(
                "shared memory with the teacher at %s was lost; using gRPC until it is back",
                self._settings.name,
            )

    def _drop(self, connection: SameHostConnection) -> None:
        self._connection = None
        # A lost connection has closed its socket already.
        if not self._loop.is_closed():
            self._loop.remove_reader(self._descriptor)
        connection.close()

    async def _look(self) -> None:
        """Describe the teacher; its answer brings the path back."""
        settings = self._settings
        request = teacher_pb2.DescribeRequest(model=settings.model, version=settings.version)
        try:
            message = await self._stub.Describe(request, timeout=DESCRIBE_SECONDS)
            self.offer(codec.decode_description(message))
        except (grpc.RpcError, ValueError):
            self._look_at = time.monotonic() + RETURN_SECONDS


def _follow(second: _Answer, future: _Answer) -> None:
    """Have the caller's future end as the second attempt does, and cancel that with it."""

    def second_done(_: _Answer) -> None:
        if future.done():
            return
        if second.cancelled():
            future.cancel()
        elif (error := second.exception()) is not None:
            future.set_exception(error)
        else:
            future.set_result(second.result())

    second.add_done_callback(second_done)
    future.add_done_callback(lambda _: second.cancel())
