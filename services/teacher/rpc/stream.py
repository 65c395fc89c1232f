"""The server side of a bidirectional stream of tagged queries.

A task reads frames and submits their queries; the stream's call writes settled queries, with all
available answers in one frame. Credit bounds a client's rows in flight: they are returned in the
frame that carries their answer, so a client that reads slowly also sends slowly.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Hashable, Sequence
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from rrl_client import Priority, codec
from rrl_client.requests import Refusal, RefusalCode
from rrl_client.v1 import teacher_pb2
from services.teacher.batching.query import Query, Sink
from services.teacher.engine import Engine
from services.teacher.metrics import TeacherMetrics
from services.teacher.rpc.offered_memory import OfferedMemory

Context = grpc.aio.ServicerContext[Any, Any]

_CREDIT_RETRY_SECONDS = 0.02
"""About the time of a batch, after which some credit has been returned."""

_MOST_FREE_QUERIES = 1024
"""Most unread answers to queries without rows, which are all refused."""

_MOST_QUERIES = 4096
_MOST_CANCELLED = 65_536
"""Most cancelled tags in a frame: more would block all other work for over a tenth of a second."""

_MOST_CREDIT_ROWS = 2**32 - 1
"""The field's maximum; only a client that lies about its rows gets near it."""


MOST_FRAME_FIELDS = 5000
"""Most queries and cancelled tags in a frame, checked before parsing."""

# Wire types of protobuf.
_VARINT = 0
_BYTES = 2
_FIXED = {1: 8, 5: 4}
_VARINT_BITS = 70


class StreamProtocolError(Exception):
    """The client broke the stream's rules; the stream ends with INVALID_ARGUMENT."""


class Stream:
    """The queries in flight on one stream, in one event loop."""

    def __init__(
        self,
        reader: RequestReader,
        engine: Engine,
        sink: Sink,
        memories: OfferedMemory,
        credit_rows: int,
    ) -> None:
        """Start without queries.

        Args:
            reader: Makes queries from requests.
            engine: Answers them.
            sink: Hands settled queries to their callback in the event loop.
            memories: Maps the memory that the client offers.
            credit_rows: Most rows in flight.
        """
        self._reader = reader
        self._engine = engine
        self._sink = sink
        self._memories = memories
        self._memory: NDArray[np.uint8] | None = None
        self._was_offered = False
        self._credit_rows = credit_rows
        self._under_way: dict[int, Query] = {}
        self._frame = teacher_pb2.AnswerFrame(credit_rows=credit_rows)
        # Credit not yet granted counts as spent; the first frame grants it.
        self._rows_out = credit_rows
        self._reading = True
        self._draining = False
        self._changed = asyncio.Event()
        self._read_on = asyncio.Event()
        self._read_on.set()

    def drain(self) -> None:
        """Ask the client to send new queries elsewhere, and end when all are answered."""
        self._draining = True
        self._frame.draining = True
        self._changed.set()

    async def run(self, context: Context) -> None:
        """Read and answer; returns when the client is done and everything is answered.

        Raises:
            StreamProtocolError: The client broke the rules.
        """
        await self._write(context)
        reading = asyncio.create_task(self._read(context))
        try:
            while self._reading or self._under_way or self._changed.is_set():
                await self._changed.wait()
                self._changed.clear()
                if reading.done():
                    reading.result()
                await self._write(context)
                if self._draining and not self._under_way and not self._frame.answers:
                    break
        finally:
            reading.cancel()
            for query in self._under_way.values():
                query.cancelled = True
            # Released now, not when the garbage collector finds the traceback of an error.
            self._memory = None

    async def _write(self, context: Context) -> None:
        frame = self._frame
        if not (
            frame.answers
            or frame.credit_rows
            or frame.draining
            or frame.HasField("memory_accepted")
        ):
            return
        self._frame = teacher_pb2.AnswerFrame()
        await context.write(frame)
        self._rows_out -= frame.credit_rows
        self._read_on.set()

    async def _read(self, context: Context) -> None:
        try:
            while (frame := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
                self._take_frame(frame)
                # Otherwise it stays until the next frame arrives: 4 MiB per stream.
                del frame
                if len(self._frame.answers) > _MOST_FREE_QUERIES:
                    self._read_on.clear()
                    await self._read_on.wait()
        finally:
            self._reading = False
            self._changed.set()

    def _take_frame(self, frame: teacher_pb2.QueryFrame | None) -> None:
        if frame is None:
            raise StreamProtocolError("a frame cannot be read; send rrl.teacher.v1.QueryFrame")
        self._check_size(frame)
        if frame.HasField("memory"):
            self._take_offer(frame.memory)
        for message in frame.queries:
            self._take(message)
        for tag in frame.cancelled_tags:
            if tag in self._under_way:
                self._under_way[tag].cancelled = True

    def _take_offer(self, offer: teacher_pb2.MemoryOffer) -> None:
        if self._was_offered:
            raise StreamProtocolError("memory is offered again; a stream has one")
        self._was_offered = True
        self._memory = self._memories.map(offer)
        self._frame.memory_accepted = self._memory is not None
        self._changed.set()

    def _check_size(self, frame: teacher_pb2.QueryFrame) -> None:
        """Bound queries without rows, which credit does not."""
        queries, cancelled = len(frame.queries), len(frame.cancelled_tags)
        most = max(self._credit_rows, _MOST_QUERIES)
        if queries > most or cancelled > _MOST_CANCELLED:
            raise StreamProtocolError(
                f"a frame of {queries} queries and {cancelled} cancelled tags; send at most "
                f"{most} and {_MOST_CANCELLED}"
            )

    def _take(self, message: teacher_pb2.Query) -> None:
        tag, request = message.tag, message.request
        if tag in self._under_way:
            # The client could not say which answer belongs to which query.
            raise StreamProtocolError(f"tag {tag} is in use by an unanswered query; use another")
        rows = request.batch_rows
        try:
            query = self._reader.read(
                request,
                message.timeout_ms / 1000 or None,
                self._sink,
                client=self,
                memory=self._memory,
            )
            if self._rows_out + rows > self._credit_rows:
                self._reader.refused(request, RefusalCode.RESOURCE_EXHAUSTED, "credit")
                raise Refusal(
                    RefusalCode.RESOURCE_EXHAUSTED,
                    f"{self._rows_out} of {self._credit_rows} rows of this stream are in flight; "
                    "wait for credit",
                    retry_after_seconds=_CREDIT_RETRY_SECONDS,
                )
            query.user_data = lambda settled: self._settled(tag, settled)
            self._engine.submit(query, request.model, request.version)
        except Refusal as refusal:
            self._add(teacher_pb2.Answer(tag=tag, failure=codec.encode_failure(refusal)))
            self._rows_out += self._give_back(rows)
        else:
            self._under_way[tag] = query
            self._rows_out += rows

    def _settled(self, tag: int, query: Query) -> None:
        del self._under_way[tag]
        answer = self._frame.answers.add(tag=tag)
        if query.refusal is None and query.values is not None:
            codec.fill_action_values(
                answer.response, query.values, query.parameters_hash, query.version
            )
        elif query.refusal is not None:
            answer.failure.CopyFrom(codec.encode_failure(query.refusal))
        self._changed.set()
        self._give_back(query.rows)

    def _give_back(self, rows: int) -> int:
        """Put credit into the next frame; returns the rows that it has room for."""
        given = min(rows, _MOST_CREDIT_ROWS - self._frame.credit_rows)
        self._frame.credit_rows += given
        return given

    def _add(self, answer: teacher_pb2.Answer) -> None:
        self._frame.answers.append(answer)
        self._changed.set()


class RequestReader:
    """Checks requests against the model they name."""

    def __init__(
        self, engine: Engine, metrics: TeacherMetrics, longest_wait_seconds: float
    ) -> None:
        """Create the reader of a service.

        Args:
            engine: Has the models.
            metrics: Metrics of refused requests.
            longest_wait_seconds: Deadline of requests without one or with a later one.
        """
        self._engine = engine
        self._metrics = metrics
        self._longest_wait_seconds = longest_wait_seconds

    def read(
        self,
        request: teacher_pb2.EvaluateRequest,
        seconds_left: float | None,
        sink: Sink,
        *,
        client: Hashable,
        memory: NDArray[np.uint8] | None = None,
    ) -> Query:
        """Make the query of a request, without submitting it.

        Args:
            request: The request.
            seconds_left: Seconds until the caller's deadline; None without one.
            sink: Notified when it is settled.
            client: Its client, see `Query`.
            memory: Memory that the caller shares, uint8 [bytes]; None for none.

        Raises:
            Refusal: The model is unknown, the service is not serving, or the request does not fit.
        """
        longest = self._longest_wait_seconds
        wait = longest if seconds_left is None else min(seconds_left, longest)
        description = self._engine.describe(request.model, request.version)
        try:
            priority = codec.decode_priority(request)
            observations = codec.decode_observations(request, description, memory)
        except codec.InvalidRequest as error:
            self.refused(request, RefusalCode.INVALID_ARGUMENT, "invalid")
            raise Refusal(RefusalCode.INVALID_ARGUMENT, str(error)) from error
        return Query(
            observations,
            deadline=time.monotonic() + wait,
            priority=priority,
            client=client,
            sink=sink,
        )

    def refused(self, request: teacher_pb2.EvaluateRequest, code: RefusalCode, reason: str) -> None:
        """Count a request that never became a query."""
        model = self._engine.describe(request.model, request.version).model
        priority = (
            Priority(request.priority)
            if request.priority in {*map(int, Priority)}
            else Priority.ACTING
        )
        self._metrics.model(model).refused(priority, code, reason)


class LoopSink:
    """Hands settled queries to the event loop, where each query's `user_data` is called."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def settled(self, queries: Sequence[Query]) -> None:
        """Wake the loop once for all queries."""
        # Once the loop has ended, there are no callers left.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._deliver, queries)

    def _deliver(self, queries: Sequence[Query]) -> None:
        for query in queries:
            query.user_data(query)


def read_frame(content: bytes) -> teacher_pb2.QueryFrame | None:
    """Parse a frame, checking the number of queries first: two bytes can be a query."""
    if not has_few_fields(content, MOST_FRAME_FIELDS):
        return None
    try:
        return teacher_pb2.QueryFrame.FromString(content)
    except DecodeError:
        return None


def has_few_fields(content: bytes, most: int) -> bool:
    """Whether a message has at most `most` top-level fields; False for an invalid message.

    Only reads lengths (protobuf's wire format), which takes microseconds for an honest frame.
    """
    at, size = 0, len(content)
    for _ in range(most):
        if at >= size:
            return at == size
        key, at = _varint(content, at)
        kind = key & 7
        if kind == _VARINT:
            _, at = _varint(content, at)
        elif kind == _BYTES:
            length, at = _varint(content, at)
            at += length
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            return False
    return at == size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """The varint at a position, and the position after it."""
    value = shift = 0
    while at < len(content) and shift < _VARINT_BITS:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
    return value, len(content) + 1
