"""Far more clients than a teacher can answer, each with its own connection and no retries.

A client sends the next query as soon as the previous one has ended: it waits as long as a refusal
says (`polite`), or not at all. Refusals are counted, not repeated: the numbers are the
service's own, without the retries of the shipped clients.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator
from typing import Any, Literal, Protocol

import grpc
import grpc.aio

from benchmarks.teacher.load import random_states, run_in_uvloop
from rrl_client import codec
from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc
from services.shared.allocator import keep_large_buffers

# gRPC would have all channels to one address share a connection.
_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
_PUSHBACK_KEY = "grpc-retry-pushback-ms"
_FARTHEST_AWAY_SECONDS = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flood:
    """What a process of clients asks.

    Attributes:
        address: gRPC address of the service.
        transport: One stream for each client, or a call for each query.
        clients: Number of clients, each with one query under way.
        rows: States in a query.
        deadline_seconds: When an answer becomes worthless.
        polite: Whether a client that is refused waits as long as the refusal asks.
        seconds: How long they ask.
    """

    address: str
    transport: Literal["stream", "unary"]
    clients: int
    rows: int
    deadline_seconds: float
    polite: bool
    seconds: float


@dataclasses.dataclass(frozen=True)
class Answer:
    """How a query ended: gRPC's name of it, and when to come again."""

    code: str
    retry_after_seconds: float = 0.0


@dataclasses.dataclass
class FloodOutcome:
    """What the clients of a process saw.

    Attributes:
        latencies: Seconds of each answered query.
        codes: Queries by how they ended.
    """

    latencies: list[float] = dataclasses.field(default_factory=list)
    codes: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


class _Client(Protocol):
    async def ask(self) -> Answer:
        """Ask once."""


def run_flood(flood: Flood) -> FloodOutcome:
    """Ask until the time is over, in this process, and leave at once, whatever is under way."""
    keep_large_buffers()
    return run_in_uvloop(_ask(flood))


async def _ask(flood: Flood) -> FloodOutcome:
    # One message for all: what is measured is the service.
    states = random_states(1, flood.rows)[0]
    request = codec.encode_query(states)
    request.observations = codec.observation_bytes(states)
    outcome = FloodOutcome()
    async with contextlib.AsyncExitStack() as stack:
        make = _stream if flood.transport == "stream" else _unary
        clients = [
            await stack.enter_async_context(make(flood, request)) for _ in range(flood.clients)
        ]
        end = time.perf_counter() + flood.seconds
        tasks = [asyncio.create_task(_ask_on(client, flood, end, outcome)) for client in clients]
        await asyncio.sleep(flood.seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return outcome


async def _ask_on(client: _Client, flood: Flood, end: float, outcome: FloodOutcome) -> None:
    while time.perf_counter() < end:
        asked_at = time.perf_counter()
        answer = await client.ask()
        outcome.codes[answer.code] += 1
        if answer.code == "OK":
            outcome.latencies.append(time.perf_counter() - asked_at)
        elif flood.polite:
            await asyncio.sleep(answer.retry_after_seconds)


@contextlib.asynccontextmanager
async def _unary(flood: Flood, request: teacher_pb2.EvaluateRequest) -> AsyncIterator[_Client]:
    async with grpc.aio.insecure_channel(flood.address, options=_OWN_CONNECTION) as channel:
        yield _UnaryClient(channel, request, flood.deadline_seconds)


class _UnaryClient:
    def __init__(
        self,
        channel: grpc.aio.Channel,
        request: teacher_pb2.EvaluateRequest,
        deadline_seconds: float,
    ) -> None:
        self._stub: Any = teacher_pb2_grpc.TeacherStub(channel)
        self._request = request
        self._deadline_seconds = deadline_seconds

    async def ask(self) -> Answer:
        try:
            await self._stub.Evaluate(self._request, timeout=self._deadline_seconds)
        except grpc.aio.AioRpcError as error:
            pushback = _pushback(error)
            wait = min(int(pushback) / 1000, _FARTHEST_AWAY_SECONDS)
            return Answer(error.code().name, wait)
        return Answer("OK")


def _pushback(error: grpc.aio.AioRpcError) -> str:
    """Milliseconds that the server asks a caller to wait; "0" where it does not."""
    metadata: Any = error.trailing_metadata() or ()
    return str(dict(metadata).get(_PUSHBACK_KEY, "0"))


@contextlib.asynccontextmanager
async def _stream(flood: Flood, request: teacher_pb2.EvaluateRequest) -> AsyncIterator[_Client]:
    async with grpc.aio.insecure_channel(flood.address, options=_OWN_CONNECTION) as channel:
        stub: Any = teacher_pb2_grpc.TeacherStub(channel)
        call = stub.EvaluateStream()
        try:
            yield _StreamClient(call, request, flood.deadline_seconds)
        finally:
            call.cancel()


class _StreamClient:
    def __init__(
        self, call: Any, request: teacher_pb2.EvaluateRequest, deadline_seconds: float
    ) -> None:
        self._call = call
        self._request = request
        self._timeout_ms = int(1000 * deadline_seconds)
        self._tag = 0

    async def ask(self) -> Answer:
        self._tag += 1
        query = teacher_pb2.Query(tag=self._tag, timeout_ms=self._timeout_ms, request=self._request)
        await self._call.write(teacher_pb2.QueryFrame(queries=[query]))
        while (frame := await self._call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            for answer in frame.answers:
                if answer.HasField("failure"):
                    wait = min(answer.failure.retry_after_ms / 1000, _FARTHEST_AWAY_SECONDS)
                    return Answer(_CODES[answer.failure.code], wait)
                return Answer("OK")
        raise RuntimeError("the teacher ended a stream")


_CODES = {code.value[0]: code.name for code in grpc.StatusCode}
