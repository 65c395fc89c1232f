"""What callers can have under way, and how long a server waits for what they said they would send.

    call ── token ──▶ its request, in time ──▶ room for its kind ──▶ method
                       ├ DEADLINE_EXCEEDED: half-sent  └ RESOURCE_EXHAUSTED: ask again
                       └ INVALID_ARGUMENT: not the method's message

gRPC waits for the request of a call without limit, and makes room for all of it as soon as its
length is known. Here few requests are read at once, so that memory has a bound before anything is
parsed. Where more come, whoever takes longest ends first, and the newest is read next: a request
that is whole is through in a moment, and whoever never sends one keeps nobody out.

Health has a room of its own: probes need no token, and must not cost those who have one anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

HEALTH_PREFIX = "/grpc.health.v1.Health/"

MOST_WAITING = 1024
"""Calls of one kind whose request waits to be read; gRPC takes in its first 64 KiB."""

_FEWEST_READ = 4
_LAST_LOOK_SECONDS = 0.05
_HEALTH_SECONDS = 3.0
_MOST_HEALTH_CALLS = 2048
_MOST_HEALTH_CALLS_OF_A_CONNECTION = 64

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
    kept_seconds: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a server that could answer nothing."""
        for name in ("calls", "calls_per_connection", "max_request_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")

    @property
    def requests_read(self) -> int:
        """Requests that are read at once."""
        return max(_FEWEST_READ, self.reading_bytes // self.max_request_bytes)


class CallLimits(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Puts every method of a `grpc.aio.server` behind its limits; add it after the token check."""

    def __init__(self, limits: ServerLimits) -> None:
        self._service = _Kind(
            _Arrivals(limits.requests_read, limits.request_seconds, limits.kept_seconds),
            _Room(limits.calls, limits.calls),
        )
        self._health = _Kind(
            _Arrivals(limits.requests_read, _HEALTH_SECONDS, kept_seconds=0.0),
            _Room(_MOST_HEALTH_CALLS, _MOST_HEALTH_CALLS_OF_A_CONNECTION),
        )

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


@dataclasses.dataclass(frozen=True)
class _Kind:
    """The limits of one kind of method; lives in one event loop, as all here do."""

    arrivals: _Arrivals
    room: _Room


class _Room:
    """Calls that have sent what they must: how many there may be, in all and of one connection."""

    def __init__(self, calls: int, connection_calls: int) -> None:
        self._calls = calls
        self._connection_calls = connection_calls
        self._under_way = 0
        self._of_connection: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def entered(self, context: _Context) -> AsyncIterator[None]:
        """Count a call while it is under way; ends one that is too many."""
        connection = context.peer()
        if self._under_way >= self._calls:
            await _exhausted(context, f"{self._calls} calls are under way here")
        if self._of_connection[connection] >= self._connection_calls:
            await _exhausted(
                context, f"{self._connection_calls} calls of this caller are under way"
            )
        self._under_way += 1
        self._of_connection[connection] += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._of_connection[connection] -= 1
            if not self._of_connection[connection]:
                del self._of_connection[connection]


class _Arrivals:
    """Requests on their way in: a few are read at once, the newest of the others next.

    Args:
        places: Requests that are read at once.
        request_seconds: Time for one to arrive.
        kept_seconds: Time that it has even where others wait.
    """

    def __init__(self, places: int, request_seconds: float, kept_seconds: float) -> None:
        self._free = places
        self._request_seconds = request_seconds
        self._kept_seconds = kept_seconds
        self._waiting: deque[asyncio.Future[None]] = deque()
        # Those that are read and have more time than `kept_seconds`, oldest first.
        self._unhurried: dict[_Reading, None] = {}

    async def request(self, context: _Context) -> Any:
        """The one message of a call; ends a call that does not send it."""
        end = asyncio.get_running_loop().time() + self._request_seconds
        if not await self._place(end):
            await _too_late(context)
        try:
            reading = _Reading(context)
            if self._waiting:
                reading.end_in(self._kept_seconds)
            else:
                reading.end_at(end)
                self._unhurried[reading] = None
            request = await reading.message()
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request cannot be read")
        finally:
            self._unhurried.pop(reading, None)
            self._leave()
        if request is _TOO_LATE:
            await _too_late(context)
        if request is grpc.aio.EOF:  # type: ignore[attr-defined]
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no request")
        return request

    async def requests(self, context: _Context) -> AsyncIterator[Any]:
        """The messages of a stream that is not to lie idle."""
        while True:
            reading = _Reading(context)
            reading.end_in(self._request_seconds)
            request = await reading.message()
            if request is _TOO_LATE or request is grpc.aio.EOF:  # type: ignore[attr-defined]
                return
            yield request

    async def _place(self, end: float) -> bool:
        """Wait for a place until then; whether there was one."""
        if self._free:
            self._free -= 1
            return True
        if self._unhurried:
            oldest = next(iter(self._unhurried))
            del self._unhurried[oldest]
            oldest.end_in(self._kept_seconds)
        loop = asyncio.get_running_loop()
        place: asyncio.Future[None] = loop.create_future()
        self._waiting.append(place)
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popleft().cancel()
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


_TOO_LATE = object()


class _Reading:
    """A message that is being read, for as long as it may take."""

    def __init__(self, context: _Context) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._message = asyncio.ensure_future(context.read())
        self._timer: asyncio.TimerHandle | None = None

    def end_in(self, seconds: float) -> None:
        """Give it that time, from its beginning."""
        self.end_at(self._began + seconds)

    def end_at(self, end: float) -> None:
        """Give it until then, by the event loop's clock."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(end, self._end)

    def _end(self) -> None:
        # A loop that was busy hears of the time's end before a message that came long ago.
        self._timer = self._loop.call_later(_LAST_LOOK_SECONDS, self._message.cancel)

    async def message(self) -> Any:
        """The message, or `_TOO_LATE`."""
        try:
            await asyncio.wait((self._message,))
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._message.cancel()
        return _TOO_LATE if self._message.cancelled() else self._message.result()


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
        request = await kind.arrivals.request(context)
        async with kind.room.entered(context):
            return await answer(request, context)

    return behaviour


def _stream(answer: Any, kind: _Kind) -> Any:
    async def behaviour(requests: object, context: _Context) -> Any:
        async with kind.room.entered(context):
            return await answer(requests, context)

    async def generated(_: object, context: _Context) -> AsyncIterator[Any]:
        async with kind.room.entered(context):
            async for response in answer(kind.arrivals.requests(context), context):
                yield response

    return generated if inspect.isasyncgenfunction(answer) else behaviour


async def _exhausted(context: _Context, what: str) -> None:
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{what}; ask again a little later")


async def _too_late(context: _Context) -> None:
    await context.abort(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "the request did not come in time; send it whole, and at once",
    )
