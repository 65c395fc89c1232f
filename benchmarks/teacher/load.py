"""Closed-loop load: clients that each send the next query as soon as they get an answer.

All clients share one process, which imports no JAX and is not the benchmark's own, so its CPU time
is that of the clients. CPU times of both processes are read at both ends of the same window.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import itertools
import threading
import time
from collections.abc import Coroutine
from typing import Any, Literal, TypeVar

import numpy as np
import uvloop
from numpy.typing import NDArray

from benchmarks.teacher.usage import cpu_seconds
from rrl_client import AsyncTeacherClient, TeacherClient
from services.shared.allocator import keep_large_buffers

Clients = Literal["asyncio", "unshared", "threads"]
"""Tasks or threads that share one client, or a client for each task (64 connections)."""

_SETTLE_SHARE = 0.25
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Load:
    """What to ask.

    Attributes:
        address: gRPC address of the service.
        shared_memory: Whether observations lie in shared memory, or travel in messages.
        clients: Number of callers, each with one query under way.
        rows: States in a query.
        kind: What the callers are.
    """

    address: str
    shared_memory: bool
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
    async def ask(client: AsyncTeacherClient, observations: NDArray[np.uint8]) -> None:
        while not window.is_over:
            asked_at = time.perf_counter()
            await client.evaluate(observations)
            window.answered(asked_at)

    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                AsyncTeacherClient(load.address, shared_memory=load.shared_memory)
            )
            for _ in range(load.clients if load.kind == "unshared" else 1)
        ]
        tasks = [
            asyncio.create_task(ask(client, own))
            for client, own in zip(itertools.cycle(clients), states, strict=False)
        ]
        await asyncio.sleep(_SETTLE_SHARE * seconds)
        window.open()
        await asyncio.sleep(seconds)
        outcome = window.close(load.rows)
        await asyncio.gather(*tasks)
    return outcome


def _run_threads(load: Load, states: NDArray[np.uint8], window: _Window, seconds: float) -> Outcome:
    failures: list[Exception] = []

    def ask(observations: NDArray[np.uint8]) -> None:
        try:
            while not window.is_over:
                asked_at = time.perf_counter()
                client.evaluate(observations)
                window.answered(asked_at)
        except Exception as error:
            failures.append(error)

    client = TeacherClient(load.address, shared_memory=load.shared_memory)
    threads = [threading.Thread(target=ask, args=(own,)) for own in states]
    for thread in threads:
        thread.start()
    time.sleep(_SETTLE_SHARE * seconds)
    window.open()
    time.sleep(seconds)
    outcome = window.close(load.rows)
    for thread in threads:
        thread.join()
    client.close()
    if failures:
        raise failures[0]
    return outcome
