"""The gRPC interface of an engine, in one event loop.

The engine hands settled queries to the loop once per batch.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc

from rrl_client import codec
from rrl_client.requests import Refusal
from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc
from services.teacher.batching.query import Query
from services.teacher.engine import Engine
from services.teacher.metrics import TeacherMetrics
from services.teacher.rpc.offered_memory import OfferedMemory
from services.teacher.rpc.stream import LoopSink, RequestReader, Stream, StreamProtocolError

Context = grpc.aio.ServicerContext[Any, Any]

PUSHBACK_KEY = "grpc-retry-pushback-ms"
"""Trailing metadata that sets the delay of gRPC's own retries."""

_POLL_SECONDS = 0.01
_STATUS = {code.value[0]: code for code in grpc.StatusCode}


class TeacherServicer(teacher_pb2_grpc.TeacherServicer):
    """Answers all calls of the contract."""

    def __init__(
        self,
        engine: Engine,
        metrics: TeacherMetrics,
        *,
        memories: OfferedMemory,
        longest_wait_seconds: float,
        stream_credit_rows: int,
        connection_age_seconds: float | None,
    ) -> None:
        """Serve an engine; call it in the event loop.

        Args:
            engine: The engine, which itself refuses queries while it cannot answer.
            metrics: Metrics of streams and refused requests.
            memories: Maps the memory that clients of this host offer.
            longest_wait_seconds: Deadline of requests without one or with a later one.
            stream_credit_rows: Most rows in flight on one stream.
            connection_age_seconds: Age at which gRPC asks a client to reconnect; None for never.
        """
        self._engine = engine
        self._metrics = metrics
        self._memories = memories
        self._reader = RequestReader(engine, metrics, longest_wait_seconds)
        self._stream_credit_rows = stream_credit_rows
        self._connection_age_seconds = connection_age_seconds
        self._loop = asyncio.get_running_loop()
        self._sink = LoopSink(self._loop)
        self._in_flight = 0
        self._streams: set[Stream] = set()
        self._draining = False

    async def drain(self, grace_seconds: float) -> None:
        """Redirect streams, and wait until queries in flight are answered or time is up.

        The engine must refuse new queries already.
        """
        self._draining = True
        end = time.monotonic() + grace_seconds
        for stream in self._streams:
            stream.drain()
        while (self._in_flight or self._streams) and time.monotonic() < end:
            await asyncio.sleep(_POLL_SECONDS)

    async def Describe(
        self, request: teacher_pb2.DescribeRequest, context: Context
    ) -> teacher_pb2.DescribeResponse:
        """A model's inputs and outputs; UNAVAILABLE whenever Evaluate would be."""
        try:
            return codec.encode_description(self._engine.describe(request.model, request.version))
        except Refusal as refusal:
            await _abort(context, refusal)

    async def ListModels(
        self, request: teacher_pb2.ListModelsRequest, context: Context
    ) -> teacher_pb2.ListModelsResponse:
        """Every model in every version."""
        try:
            return codec.encode_models(self._engine.descriptions())
        except Refusal as refusal:
            await _abort(context, refusal)

    async def Evaluate(
        self, request: teacher_pb2.EvaluateRequest, context: Context
    ) -> teacher_pb2.EvaluateResponse:
        """Action values of a batch of observations."""
        self._in_flight += 1
        try:
            query = self._reader.read(request, context.time_remaining(), self._sink, client=context)
            await self._settled(query, request)
            if query.refusal is not None:
                raise query.refusal
            assert query.values is not None, "settled queries have values or a refusal"
            return codec.encode_action_values(query.values, query.parameters_hash, query.version)
        except Refusal as refusal:
            await _abort(context, refusal)
        finally:
            self._in_flight -= 1

    async def EvaluateStream(  # type: ignore[override]
        self, request_iterator: AsyncIterator[teacher_pb2.QueryFrame], context: Context
    ) -> None:
        """Many queries over one stream."""
        stream = Stream(
            self._reader, self._engine, self._sink, self._memories, self._stream_credit_rows
        )
        if self._draining:
            stream.drain()
        end_of_age = self._drain_at_age(stream)
        self._streams.add(stream)
        self._metrics.streams_changed(1)
        try:
            await stream.run(context)
        except StreamProtocolError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            if end_of_age is not None:
                end_of_age.cancel()
            self._streams.discard(stream)
            self._metrics.streams_changed(-1)

    def _drain_at_age(self, stream: Stream) -> asyncio.TimerHandle | None:
        """End a stream once its connection was asked to close: the next one finds new replicas.

        gRPC ends connections at 0.9 to 1.1 of their age; streams come after that, not all at once.
        """
        if self._connection_age_seconds is None:
            return None
        age = self._connection_age_seconds * random.uniform(1.2, 1.4)
        return self._loop.call_later(age, stream.drain)

    async def _settled(self, query: Query, request: teacher_pb2.EvaluateRequest) -> None:
        done: asyncio.Future[None] = self._loop.create_future()

        def settle(_: Query) -> None:
            if not done.done():
                done.set_result(None)

        query.user_data = settle
        self._engine.submit(query, request.model, request.version)
        try:
            await done
        except asyncio.CancelledError:
            # gRPC cancels the call when the caller gives up or its deadline passes.
            query.cancelled = True
            raise


async def _abort(context: Context, refusal: Refusal) -> NoReturn:
    metadata: tuple[tuple[str, str], ...] = ()
    if refusal.retry_after_seconds is not None:
        metadata = ((PUSHBACK_KEY, str(max(1, round(1000 * refusal.retry_after_seconds)))),)
    reason = str(refusal)[: codec.MOST_REASON_CHARS]
    await context.abort(_STATUS[int(refusal.code)], reason, metadata)
    raise AssertionError("abort always raises")
