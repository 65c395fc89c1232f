"""Closed-loop load: clients that each ask again as soon as they are answered.

All clients live in one process, which imports no JAX and is not the benchmark's own: its CPU time
is the clients' alone. It takes the times of both processes at the two ends of the same window.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import threading
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import uvloop
from numpy.typing import NDArray

from benchmarks.teacher.unshared import UnsharedSameHost, UnsharedStream
from benchmarks.teacher.usage import cpu_seconds
from rrl_client import AsyncTeacherClient, TeacherClient
from rrl_client.settings import Transport
from services.shared.allocator import keep_large_buffers

Clients = Literal["asyncio", "unshared", "threads"]
"""How the clients live: in one event loop, there without sharing any connection, or in threads."""

_READY_SECONDS = 30.0
_SETTLE_SHARE = 0.25
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Load:
    """What to ask.

    Attributes:
        address: gRPC address of the service.
        transport: How queries travel.
        clients: Number of clients, each with one query under way.
        rows: States in a query.
        kind: How the clients live.
    """

    address: str
    transport: Transport
    clients: int
    rows: int
    kind: Clients = "asyncio"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a load came to within its window.

    Attributes:
        states_per_second: States answered.
        p50_ms: Median milliseconds of a query, as its client saw it.
        p99_ms: 99th percentile of the same.
        server_us_per_state: CPU microseconds of the server's processes for a state.
        client_us_per_state: CPU microseconds of the clients' process for a state.
    """

    states_per_second: float
    p50_ms: float
    p99_ms: float
    server_us_per_state: float
    client_us_per_state: float


class _Asker(Protocol):
    async def evaluate(self, observations: NDArray[Any]) -> object: ...

    async def close(self) -> None: ...


class _Window:
    """Answers that were asked for and came between `open` and `close`; used by all clients."""

    def __init__(self, server_pid: int) -> None:
        self.is_over = False
        self.latencies: list[float] = []
        self._server_pid = server_pid
        self._begun: tuple[float, float, float] | None = None
        self._counted = 0

    def answered(self, asked_at: float) -> None:
        """Count a query by the time it was sent."""
        self.latencies.append(time.perf_counter() - asked_at)

    def open(self) -> None:
        """Begin to measure; clients are at work already."""
        self._counted = len(self.latencies)
        self._begun = self._times()

    def close(self, rows: int) -> Outcome:
        """End it; clients stop after their next answer."""
        assert self._begun is not None
        ended, queries = self._times(), len(self.latencies)
        self.is_over = True
        seconds, server, client = (
            after - before for before, after in zip(self._begun, ended, strict=True)
        )
        measured = self.latencies[self._counted : queries]
        states = max(rows * len(measured), 1)
        p50, p99 = np.percentile(measured or [np.nan], (50, 99))
        return Outcome(
            states_per_second=states / seconds,
            p50_ms=1e3 * float(p50),
            p99_ms=1e3 * float(p99),
            server_us_per_state=1e6 * server / states,
            client_us_per_state=1e6 * client / states,
        )

    def _times(self) -> tuple[float, float, float]:
        return time.perf_counter(), cpu_seconds(self._server_pid), time.process_time()


def run_load(load: Load, server_pid: int, seconds: float) -> Outcome:
    """Run a load, in this process, and measure it after it has settled.

    Args:
        load: What to ask.
        server_pid: The server's process.
        seconds: Length of the window; a quarter of it goes before.

    Raises:
        TeacherError: A query failed.
    """
    keep_large_buffers()
    window = _Window(server_pid)
    states = random_states(load.clients, load.rows)
    if load.kind == "threads":
        return _run_threads(load, states, window, seconds)
    return run_in_uvloop(_run_loop(load, states, window, seconds))


def random_states(clients: int, rows: int) -> NDArray[np.uint8]:
    """States uint8 [clients, rows, 84, 84, 4]."""
    return np.random.default_rng(0).integers(0, 256, (clients, rows, 84, 84, 4), np.uint8)


def run_in_uvloop(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run to the end on the faster loop; always the same one.

    gRPC's asyncio side polls for the whole process, and stumbles over loops that were closed.
    """
    return _loop().run_until_complete(coroutine)


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


async def _run_loop(
    load: Load, states: NDArray[np.uint8], window: _Window, seconds: float
) -> Outcome:
    async def ask(client: _Asker, observations: NDArray[np.uint8]) -> None:
        while not window.is_over:
            asked_at = time.perf_counter()
            await client.evaluate(observations)
            window.answered(asked_at)

    async with contextlib.AsyncExitStack() as stack:
        clients = await _make_clients(load)
        for client in clients:
            stack.push_async_callback(client.close)
        tasks = [
            asyncio.create_task(ask(client, own))
            for client, own in zip(clients, states, strict=True)
        ]
        await asyncio.sleep(_SETTLE_SHARE * seconds)
        window.open()
        await asyncio.sleep(seconds)
        outcome = window.close(load.rows)
        await asyncio.gather(*tasks)
    return outcome


async def _make_clients(load: Load) -> Sequence[_Asker]:
    if load.kind == "asyncio":
        return [
            AsyncTeacherClient(load.address, transport=load.transport) for _ in range(load.clients)
        ]
    if load.transport == "stream":
        return [UnsharedStream(load.address) for _ in range(load.clients)]
    async with AsyncTeacherClient(load.address) as teacher:
        described = await teacher.wait_until_ready(_READY_SECONDS)
    if load.transport != "same_host" or described.same_host is None:
        raise ValueError(
            f"clients that share nothing ask by 'stream' or 'same_host', not {load.transport!r}; "
            f"the service offers same_host: {described.same_host is not None}"
        )
    return [UnsharedSameHost(described.same_host, load.rows) for _ in range(load.clients)]


def _run_threads(load: Load, states: NDArray[np.uint8], window: _Window, seconds: float) -> Outcome:
    failures: list[Exception] = []

    def ask(observations: NDArray[np.uint8]) -> None:
        try:
            with TeacherClient(load.address, transport=load.transport) as client:
                while not window.is_over:
                    asked_at = time.perf_counter()
                    client.evaluate(observations)
                    window.answered(asked_at)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(own,)) for own in states]
    for thread in threads:
        thread.start()
    time.sleep(_SETTLE_SHARE * seconds)
    window.open()
    time.sleep(seconds)
    outcome = window.close(load.rows)
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return outcome
