"""Places of requests on their way in: all come back, whatever becomes of the calls."""

from __future__ import annotations

import asyncio
import random
from typing import Any, NoReturn

import grpc
import grpc.aio
import pytest
from google.protobuf.message import DecodeError

from services.shared.call_limits import _Kind

PLACES = 4


class Aborted(Exception):
    pass


class Call:
    """What `_Kind` sees of a call; `outcome` is what its request comes to."""

    def __init__(self, outcome: Any, after: float = 0.0) -> None:
        self._outcome, self._after = outcome, after
        self.status: grpc.StatusCode | None = None
        self.takes_its_refusal = asyncio.Event()
        self.takes_its_refusal.set()

    async def read(self) -> Any:
        await asyncio.sleep(self._after)
        if isinstance(self._outcome, Exception):
            raise self._outcome
        if self._outcome is None:
            await asyncio.Event().wait()
        return self._outcome

    async def abort(self, status: grpc.StatusCode, details: str) -> NoReturn:
        self.status = status
        await self.takes_its_refusal.wait()
        raise Aborted(details)


async def served(arrivals: _Kind, *calls: Call) -> list[Any]:
    requests = (arrivals.request(call) for call in calls)  # type: ignore[arg-type]
    return await asyncio.gather(*requests, return_exceptions=True)


@pytest.mark.parametrize("seed", range(3))
def test_every_place_comes_back(seed: int) -> None:
    order = random.Random(seed)

    async def play() -> None:
        arrivals = _Kind(PLACES, request_seconds=0.3, kept_seconds=0.05, calls=1000)
        eof = grpc.aio.EOF  # type: ignore[attr-defined]
        outcomes = [b"request", eof, None, DecodeError("no"), RuntimeError("gone")]
        tasks = []
        for _ in range(200):
            call = Call(order.choice(outcomes), after=order.choice([0.0, 0.01, 0.2]))
            tasks.append(asyncio.ensure_future(served(arrivals, call)))
            if order.random() < 0.2:
                asyncio.get_running_loop().call_later(order.random() / 10, tasks[-1].cancel)
            await asyncio.sleep(order.choice([0.0, 0.0, 0.01]))
        await asyncio.gather(*tasks, return_exceptions=True)
        # A cancelled call lets go when it is next looked at.
        await asyncio.sleep(0.1)
        assert (arrivals._free, len(arrivals._waiting), len(arrivals._read)) == (PLACES, 0, 0)
        assert await served(arrivals, Call(b"request")) == [b"request"]

    asyncio.run(play())


def test_who_does_not_even_take_a_refusal_holds_no_place() -> None:
    async def play() -> None:
        arrivals = _Kind(PLACES, request_seconds=5.0, kept_seconds=0.0, calls=1000)
        calls = [Call(DecodeError("no")) for _ in range(3 * PLACES)]
        for call in calls:
            call.takes_its_refusal.clear()
        stuck = [asyncio.ensure_future(served(arrivals, call)) for call in calls]
        while not all(call.status for call in calls):
            await asyncio.sleep(0.01)
        assert await served(arrivals, Call(b"request")) == [b"request"]
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)

    asyncio.run(play())


def test_a_slow_request_keeps_its_place_unless_others_wait_for_long() -> None:
    async def play() -> None:
        arrivals = _Kind(1, request_seconds=5.0, kept_seconds=0.3, calls=1000)
        slow, quick = Call(b"slow", after=0.15), Call(b"quick")
        assert await served(arrivals, slow, quick) == [b"slow", b"quick"]
        never, slow = Call(None), Call(b"slow")
        results = await served(arrivals, never, slow)
        assert isinstance(results[0], Aborted) and results[1] == b"slow"
        assert never.status is grpc.StatusCode.DEADLINE_EXCEEDED

    asyncio.run(play())


def test_who_is_never_read_is_told_to_ask_again() -> None:
    async def play() -> None:
        arrivals = _Kind(1, request_seconds=0.2, kept_seconds=5.0, calls=1000)
        first, second = Call(None), Call(b"whole")
        await served(arrivals, first, second)
        assert first.status is grpc.StatusCode.DEADLINE_EXCEEDED
        # Its place came as the first one's time was over, with its own.
        assert second.status in (None, grpc.StatusCode.RESOURCE_EXHAUSTED)

    asyncio.run(play())
