"""The asyncio client with a synchronous face, so that one test serves both clients."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from numpy.typing import NDArray

from rrl_client import AsyncTeacherClient, TeacherAnswer, TeacherDescription
from tests.support.patience import PATIENCE_SECONDS

_Result = TypeVar("_Result")


class FromThread:
    """An asyncio client in a loop of its own thread, with a synchronous face for tests."""

    def __init__(
        self, addresses: Any, *, make: Callable[..., Any] = AsyncTeacherClient, **settings: Any
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._client = make(addresses, **settings)

    def _run(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_SECONDS)

    def describe(self) -> TeacherDescription:
        return self._run(self._client.describe())

    def wait_until_ready(self, timeout_seconds: float) -> TeacherDescription:
        return self._run(self._client.wait_until_ready(timeout_seconds))

    def evaluate(
        self, observations: NDArray[Any], *, timeout_seconds: float | None = None
    ) -> TeacherAnswer:
        return self._run(self._client.evaluate(observations, timeout_seconds=timeout_seconds))

    def evaluate_future(
        self, observations: NDArray[Any], timeout_seconds: float | None = None
    ) -> FutureFromThread:
        async def send() -> asyncio.Future[TeacherAnswer]:
            return self._client.evaluate_future(observations, timeout_seconds)

        return FutureFromThread(self._run(send()), self._loop)

    def close(self) -> None:
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> FromThread:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class FutureFromThread:
    def __init__(
        self, inner: asyncio.Future[TeacherAnswer], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._inner = inner
        self._loop = loop

    def done(self) -> bool:
        return self._inner.done()

    def cancel(self) -> None:
        self._loop.call_soon_threadsafe(self._inner.cancel)

    def result(self) -> TeacherAnswer:
        async def wait() -> TeacherAnswer:
            return await self._inner

        return asyncio.run_coroutine_threadsafe(wait(), self._loop).result(PATIENCE_SECONDS)
