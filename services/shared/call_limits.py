"""Limits on calls in flight, and on how long a server waits for a request.

    call ── token ──▶ its request, in time ──▶ room for its kind ──▶ method
                       ├ DEADLINE_EXCEEDED: half-sent  └ RESOURCE_EXHAUSTED: ask again
                       └ INVALID_ARGUMENT: not the method's message

gRPC itself waits for a call's request without limit, and allocates all of it as soon as its length
is known. Here few requests are read at once, which bounds memory before anything is parsed. If more
arrive, the slowest is ended first and the newest is read next: a complete request passes in a
moment, and up to some hundred half-sent calls a second keep no other call out.

Health checks have their own limits: probes need no token, and must not affect callers who have one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from rrl_agents.ranges import check_ranges

HEALTH_PREFIX = "/grpc.health.v1.Health/"

MOST_WAITING = 1024
"""Most calls of one kind whose request waits to be read; gRPC buffers the first 64 KiB of each."""

_FEWEST_READ = 4
_LAST_LOOK_SECONDS = 0.05
_HEALTH_SECONDS = 3.0

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerLimits:
    """Limits of a server.

    Attributes:
        calls: Most calls in flight, without health checks; more are refused with
            RESOURCE_EXHAUSTED, on which clients retry.
        calls_per_connection: Most calls in flight on one connection; further ones wait on the
            client's side.
        max_request_bytes: Largest message received.
        max_response_bytes: Largest message sent; -1 for any.
        reading_bytes: Memory bound of all requests being read, and the same again for health
            checks; at least four are read. Frames of streams do not count.
        request_seconds: Longest time for a request to arrive.
        kept_seconds: Time that a request always has, even if others wait to be read.
    """

    calls: int
    calls_per_connection: int
    max_request_bytes: int
    max_response_bytes: int
    reading_bytes: int = 64 * 2**20
    request_seconds: float = 3.0
    kept_seconds: float = 0.5

    def __post_init__(self) -> None:
        """Refuse limits that allow no answer."""
        check_ranges(self, "calls", "calls_per_connection", "max_request_bytes", least=1)

    @property
    def requests_read(self) -> int:
        """Requests read at the same time."""
        return max(_FEWEST_READ, self.reading_bytes // self.max_request_bytes)


class CallLimits(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Puts every method of a `grpc.aio.server` behind its limits; add it after the token check."""

    def __init__(self, limits: ServerLimits) -> None:
        self._service = _Kind(
            limits.requests_read, limits.request_seconds, limits.kept_seconds, limits.calls
        )
        # Checks are answered at once; `Health` itself bounds the watchers.
        self._health = _Kind(limits.requests_read, _HEALTH_SECONDS, 0.0, math.inf)

    async def intercept_service(  # type: ignore[override]
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """The method with its limits; None if there is no such method."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        is_health = str(handler_call_details.method).startswith(HEALTH_PREFIX)
        return _limited(handler, self._health if is_health else self._service)


class _Kind:
    """The limits of one kind of method; belongs to one event loop.

    A few of the arriving requests are read at once, the newest of the others next. A call whose
    request has arrived counts until its answer has been read.

    Args:
        places: Requests read at the same time.
        request_seconds: Longest time for one to arrive.
        kept_seconds: Time that it always has, even if others wait.
        calls: Most calls in flight.
    """

    def __init__(
        self, places: int, request_seconds: float, kept_seconds: float, calls: float
    ) -> None:
        self._free = places
        self._request_seconds = request_seconds
        self._kept_seconds = kept_seconds
        self._calls = calls
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        # The requests being read, oldest first.
        self._read: dict[_Reading, None] = {}
        self._hurry: asyncio.TimerHandle | None = None

    async def enter(self, context: _Context) -> None:
        """Count a call until it ends; refuses calls beyond the limit."""
        if self._under_way >= self._calls:
            await _exhausted(context, f"{self._calls} calls are active, the limit")
        self._under_way += 1
        context.add_done_callback(self._left)  # type: ignore[arg-type]

    def _left(self, _: object) -> None:
        self._under_way -= 1

    async def request(self, context: _Context) -> Any:
        """The one message of a call; ends a call that does not send it."""
        end = asyncio.get_running_loop().time() + self._request_seconds
        if not await self._place(end):
            await _exhausted(context, "more requests arrive than are read")
        reading = _Reading(context, end)
        self._read[reading] = None
        self._hurry_if_needed()
        try:
            request = await reading.message()
        finally:
            self._read.pop(reading, None)
            self._leave()
        # Only now, because a caller that does not read its refusal must not hold a place.
        if request is _TOO_LATE:
            await context.abort(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                "the request did not come in time; send it whole, and at once",
            )
        if request is _UNREADABLE:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request cannot be read")
        if request is grpc.aio.EOF:  # type: ignore[attr-defined]
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no request")
        return request

    async def requests(self, context: _Context) -> AsyncIterator[Any]:
        """The messages of a stream, which must not be idle."""
        loop = asyncio.get_running_loop()
        while True:
            request = await _Reading(context, loop.time() + self._request_seconds).message()
            if request is _TOO_LATE or request is grpc.aio.EOF:  # type: ignore[attr-defined]
                return
            if request is _UNREADABLE:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a request cannot be read")
            yield request

    async def _place(self, end: float) -> bool:
        """Wait for a place until `end`; returns whether there was one."""
        if self._free:
            self._free -= 1
            return True
        loop = asyncio.get_running_loop()
        place: asyncio.Future[None] = loop.create_future()
        self._waiting.append(place)
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popleft().cancel()
        self._hurry_if_needed()
        try:
            await asyncio.wait((place,), timeout=end - loop.time())
        except asyncio.CancelledError:
            if not self._withdraw(place):
                self._leave()
            raise
        return not self._withdraw(place)

    def _withdraw(self, place: asyncio.Future[None]) -> bool:
        """Stop waiting; returns whether there was no place yet."""
        if not place.done():
            self._waiting.remove(place)
            place.cancel()
        return place.cancelled()

    def _leave(self) -> None:
        if self._waiting:
            self._waiting.pop().set_result(None)
        else:
            self._free += 1

    def _hurry_if_needed(self) -> None:
        """If requests wait, check again when the oldest has had its guaranteed time."""
        if self._waiting and self._read and self._hurry is None:
            at = next(iter(self._read)).began + self._kept_seconds + _LAST_LOOK_SECONDS
            self._hurry = asyncio.get_running_loop().call_at(at, self._cut)

    def _cut(self) -> None:
        """End requests past their guaranteed time, as many as are waiting."""
        self._hurry = None
        now = asyncio.get_running_loop().time()
        for reading in [*self._read][: len(self._waiting)]:
            if reading.began + self._kept_seconds + _LAST_LOOK_SECONDS <= now:
                del self._read[reading]
                reading.cut()
        self._hurry_if_needed()


_TOO_LATE, _UNREADABLE = object(), object()


class _Reading:
    """A message being read, until a time of the event loop's clock."""

    def __init__(self, context: _Context, end: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.began = self._loop.time()
        self._message = asyncio.ensure_future(context.read())
        self._timer = self._loop.call_at(end, self._end)

    def _end(self) -> None:
        # A busy loop may process the timeout before a message that arrived long ago.
        self._timer = self._loop.call_later(_LAST_LOOK_SECONDS, self.cut)

    def cut(self) -> None:
        """Stop reading it."""
        self._message.cancel()

    async def message(self) -> Any:
        """The message, `_TOO_LATE` or `_UNREADABLE`."""
        try:
            await asyncio.wait((self._message,))
        finally:
            self._timer.cancel()
            self._message.cancel()
        try:
            return self._message.result()
        except asyncio.CancelledError:
            return _TOO_LATE
        except DecodeError:
            return _UNREADABLE


def _limited(handler: _Handler, kind: _Kind) -> _Handler:
    """The method with its limits; on the wire all kinds of methods are alike."""
    coders = (handler.request_deserializer, handler.response_serializer)
    if handler.request_streaming:
        return grpc.stream_stream_rpc_method_handler(_stream(handler.stream_stream, kind), *coders)
    if handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(_unary(handler.unary_stream, kind), *coders)
    return grpc.stream_unary_rpc_method_handler(_unary(handler.unary_unary, kind), *coders)


def _unary(answer: Any, kind: _Kind) -> Any:
    async def behaviour(_: object, context: _Context) -> Any:
        request = await kind.request(context)
        await kind.enter(context)
        return await answer(request, context)

    return behaviour


def _stream(answer: Any, kind: _Kind) -> Any:
    async def behaviour(requests: object, context: _Context) -> Any:
        await kind.enter(context)
        return await answer(requests, context)

    async def generated(_: object, context: _Context) -> AsyncIterator[Any]:
        await kind.enter(context)
        async for response in answer(kind.requests(context), context):
            yield response

    return generated if inspect.isasyncgenfunction(answer) else behaviour


async def _exhausted(context: _Context, what: str) -> None:
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{what}; ask again a little later")
