"""What callers can have under way, and how long a server waits for what they said they would send.

    call ── token ──▶ its request, in time ──▶ room for its kind ──▶ method
                       ├ DEADLINE_EXCEEDED: half-sent  └ RESOURCE_EXHAUSTED: ask again
                       └ INVALID_ARGUMENT: not the method's message

gRPC waits for the request of a call without limit, and makes room for all of it as soon as its
length is known. Here few requests are read at once, so that memory has a bound before anything is
parsed. Where more come, the slowest ends first, and the newest is read next: a request
that is whole is through in a moment, and up to some hundred half-sent calls a second keep no other
call out.

Health has a room of its own: probes need no token, and must not cost those who have one anything.
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
"""Calls of one kind whose request waits to be read; gRPC takes in its first 64 KiB."""

_FEWEST_READ = 4
_LAST_LOOK_SECONDS = 0.05
_HEALTH_SECONDS = 3.0

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerLimits:
    """What a server takes on.

    Attributes:
        calls: Calls under way at once, without those of health; more are refused with
            RESOURCE_EXHAUSTED, which clients take as "ask again".
        calls_per_connection: Calls of one client; its further ones wait on its side.
        max_request_bytes: Largest message read.
        max_response_bytes: Largest message sent; -1 for any.
        reading_bytes: Bound on all requests together that are being read, and the same for health;
            at least four are. Frames of a stream do not count.
        request_seconds: Time for a request to arrive.
        kept_seconds: Time that a request has even where others wait to be read.
    """

    calls: int
    calls_per_connection: int
    max_request_bytes: int
    max_response_bytes: int
    reading_bytes: int = 64 * 2**20
    request_seconds: float = 3.0
    kept_seconds: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a server that could answer nothing."""
        check_ranges(self, "calls", "calls_per_connection", "max_request_bytes", least=1)

    @property
    def requests_read(self) -> int:
        """Requests that are read at once."""
        return max(_FEWEST_READ, self.reading_bytes // self.max_request_bytes)


class CallLimits(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Puts every method of a `grpc.aio.server` behind its limits; add it after the token check."""

    def __init__(self, limits: ServerLimits) -> None:
        self._service = _Kind(
            limits.requests_read, limits.request_seconds, limits.kept_seconds, limits.calls
        )
        # Answered at once, or watching, which `Health` itself bounds.
        self._health = _Kind(limits.requests_read, _HEALTH_SECONDS, 0.0, math.inf)

    async def intercept_service(  # type: ignore[override]
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """The method behind its limits; None where there is no such method."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        is_health = str(handler_call_details.method).startswith(HEALTH_PREFIX)
        return _limited(handler, self._health if is_health else self._service)


class _Kind:
    """The limits of one kind of method; belongs to one event loop.

    Of the requests on their way in, a few are read at once, the newest of the others next. A call
    whose request is there counts until its answer has been taken.

    Args:
        places: Requests that are read at once.
        request_seconds: Time for one to arrive.
        kept_seconds: Time that it has even where others wait.
        calls: Most calls under way.
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
        # Those that are read, oldest first.
        self._read: dict[_Reading, None] = {}
        self._hurry: asyncio.TimerHandle | None = None

    async def enter(self, context: _Context) -> None:
        """Count a call until it is over; ends one that is too many."""
        if self._under_way >= self._calls:
            await _exhausted(context, f"{self._calls} calls are under way here")
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
        # Only now: a caller that does not even read its refusal must not hold a place.
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
        """The messages of a stream that is not to lie idle."""
        loop = asyncio.get_running_loop()
        while True:
            request = await _Reading(context, loop.time() + self._request_seconds).message()
            if request is _TOO_LATE or request is grpc.aio.EOF:  # type: ignore[attr-defined]
                return
            if request is _UNREADABLE:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a request cannot be read")
            yield request

    async def _place(self, end: float) -> bool:
        """Wait for a place until then; whether there was one."""
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
        """Wait no longer; whether there was no place yet."""
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
        """Look again when the oldest has had the time that it is kept, if somebody waits."""
        if self._waiting and self._read and self._hurry is None:
            at = next(iter(self._read)).began + self._kept_seconds + _LAST_LOOK_SECONDS
            self._hurry = asyncio.get_running_loop().call_at(at, self._cut)

    def _cut(self) -> None:
        """End those that have had their time, as many as others wait."""
        self._hurry = None
        now = asyncio.get_running_loop().time()
        for reading in [*self._read][: len(self._waiting)]:
            if reading.began + self._kept_seconds + _LAST_LOOK_SECONDS <= now:
                del self._read[reading]
                reading.cut()
        self._hurry_if_needed()


_TOO_LATE, _UNREADABLE = object(), object()


class _Reading:
    """A message that is being read, until a moment of the event loop's clock."""

    def __init__(self, context: _Context, end: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.began = self._loop.time()
        self._message = asyncio.ensure_future(context.read())
        self._timer = self._loop.call_at(end, self._end)

    def _end(self) -> None:
        # A loop that was busy hears of the time's end before a message that came long ago.
        self._timer = self._loop.call_later(_LAST_LOOK_SECONDS, self.cut)

    def cut(self) -> None:
        """Read it no longer."""
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
    """The same method behind its limits; on the wire all kinds of methods are alike."""
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
