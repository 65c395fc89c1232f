"""Open-loop load: queries of one state that arrive independently of how busy the service is.

Arrivals are Poisson at a share of the closed loop's capacity. Latency counts from the moment a
query was due, so a delayed load generator hides nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import selectors
import time

import numpy as np
from numpy.typing import NDArray

from benchmarks.teacher.load import random_states
from benchmarks.teacher.usage import cpu_seconds
from rrl_client import AsyncTeacherClient, TeacherAnswer, TeacherError, TeacherOverloaded
from services.shared.allocator import keep_large_buffers

FRACTIONS = (0.3, 0.6, 0.8)
"""Shares of the capacity that are asked for."""

_CLIENTS = 8
_SETTLE_SECONDS = 0.3
_READY_SECONDS = 30.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrivals:
    """What to ask.

    Attributes:
        address: gRPC address of the service.
        shared_memory: Whether observations lie in shared memory, or travel in messages.
        queries_per_second: Mean rate of arrivals.
        timeout_seconds: Deadline of each query.
    """

    address: str
    shared_memory: bool
    queries_per_second: float
    timeout_seconds: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenOutcome:
    """What came of the queries.

    Attributes:
        queries_per_second: Queries answered.
        p50_ms: Median milliseconds from the intended sending to the answer; of answered ones.
        p99_ms: 99th percentile of the same.
        sent_late_ms: 99th percentile of milliseconds the generator was late in sending.
        refused_share: Share of queries that were refused at once.
        failed_share: Share of queries that ended in any other way without an answer.
        server_us_per_state: CPU microseconds of the server's processes for a query.
    """

    queries_per_second: float
    p50_ms: float
    p99_ms: float
    sent_late_ms: float
    refused_share: float
    failed_share: float
    server_us_per_state: float


def run_arrivals(arrivals: Arrivals, server_pid: int, seconds: float) -> OpenOutcome:
    """Send queries as they come, in this process.

    Args:
        arrivals: What to ask.
        server_pid: The server's process.
        seconds: How long.
    """
    keep_large_buffers()
    return _loop().run_until_complete(_send(arrivals, server_pid, seconds))


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    # epoll waits in whole milliseconds, in which several queries would come; select does not.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    asyncio.set_event_loop(loop)
    return loop


class _Log:
    """What became of every query."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.late: list[float] = []
        self.refused = 0
        self.failed = 0

    def settled(self, due: float, future: asyncio.Future[TeacherAnswer]) -> None:
        error = future.exception()
        if error is None:
            self.latencies.append(time.perf_counter() - due)
        elif isinstance(error, TeacherOverloaded):
            self.refused += 1
        elif isinstance(error, TeacherError):
            self.failed += 1
        else:
            raise error


async def _send(arrivals: Arrivals, server_pid: int, seconds: float) -> OpenOutcome:
    log = _Log()
    states = random_states(_CLIENTS, 1)
    clients = [
        AsyncTeacherClient(arrivals.address, shared_memory=arrivals.shared_memory)
        for _ in range(_CLIENTS)
    ]
    try:
        for client, own in zip(clients, states, strict=True):
            await client.wait_until_ready(_READY_SECONDS)
            await client.evaluate(own)
        begun = time.perf_counter() + _SETTLE_SECONDS
        due_times = begun + _poisson_times(arrivals.queries_per_second, seconds)
        server = cpu_seconds(server_pid)
        for number, due in enumerate(due_times.tolist()):
            while (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            log.late.append(-early)
            chosen = number % _CLIENTS
            future = clients[chosen].evaluate_future(states[chosen], arrivals.timeout_seconds)
            future.add_done_callback(functools.partial(log.settled, due))
        while len(log.latencies) + log.refused + log.failed < len(due_times):
            await asyncio.sleep(0.01)
        spent = time.perf_counter() - begun, cpu_seconds(server_pid) - server
    finally:
        for client in clients:
            await client.close()
    return _summary(log, *spent)


def _poisson_times(rate: float, seconds: float) -> NDArray[np.float64]:
    """Arrivals within `seconds`, float64 [N]; the same for the same rate."""
    random = np.random.default_rng(0)
    # Ten standard deviations more than are expected.
    count = int(rate * seconds + 10 * (rate * seconds) ** 0.5 + 1)
    times: NDArray[np.float64] = np.cumsum(random.exponential(1 / rate, count))
    return times[times < seconds]


def _summary(log: _Log, seconds: float, server_seconds: float) -> OpenOutcome:
    queries = max(len(log.late), 1)
    answered = len(log.latencies)
    p50, p99 = np.percentile(log.latencies or [np.nan], (50, 99))
    return OpenOutcome(
        queries_per_second=answered / seconds,
        p50_ms=1e3 * float(p50),
        p99_ms=1e3 * float(p99),
        sent_late_ms=1e3 * float(np.percentile(log.late or [np.nan], 99)),
        refused_share=log.refused / queries,
        failed_share=log.failed / queries,
        server_us_per_state=1e6 * server_seconds / max(answered, 1),
    )
