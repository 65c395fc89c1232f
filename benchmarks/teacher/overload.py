"""What 500 concurrent clients do to a teacher: memory, waits, refusals, and how soon it recovers.

The service is a separate process; the clients, each with its own connection, are spread over four
more. Three floods: queries of 32 states over streams, by clients that honour the retry delay and
by clients that do not, and single states by unary calls. Each lasts a minute. Before them the bare
forward pass of the same policy is measured.

Ratios, by flood:
    states over bare     states/s in the flood over the bare forward pass's (higher is better)
    first over idle      the first query after it over one with the service idle (lower is better)

    python -m benchmarks.teacher.overload --quick --json
"""

from __future__ import annotations

import dataclasses
import statistics
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.harness import parse_flags, print_ratios
from benchmarks.teacher.bare import bare_forward
from benchmarks.teacher.closed_loop import load_process
from benchmarks.teacher.flood import Flood, FloodOutcome, run_flood
from benchmarks.teacher.load import random_states
from benchmarks.teacher.service import CHECKPOINT, Service, read_totals, teacher_service
from benchmarks.teacher.usage import resident_bytes
from rrl_client import TeacherClient

CLIENTS = 500
PROCESSES = 4

_DEADLINE_SECONDS = 5.0
_SINGLE_QUERIES = 20
_MEMORY_PERIOD_SECONDS = 0.1
_REJECTED = "rrl_teacher_rejected_total"

FLOODS: dict[str, dict[str, Any]] = {
    "stream, 32 states": {"transport": "stream", "rows": 32, "polite": True},
    "stream, 32 states, impolite": {"transport": "stream", "rows": 32, "polite": False},
    "unary, 1 state": {"transport": "unary", "rows": 1, "polite": True},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What a flood did.

    Attributes:
        states_per_second: States answered.
        p50_ms: Median milliseconds of an answered query, as its client saw it.
        p99_ms: 99th percentile of the same.
        answered: Queries answered.
        ended: Queries by gRPC's name of their end, as the clients saw it.
        rejected: Queries not taken in, by the service's reason.
        memory_before_mib: Resident memory of the service with nothing to do.
        memory_peak_mib: The most in the flood.
        memory_after_mib: The same as before, when the clients have left.
        idle_ms: Median of single queries, one after the other, before the flood.
        first_ms: The first such query after it, sent when the last client has left.
        after_ms: Median of the first twenty.
    """

    states_per_second: float
    p50_ms: float
    p99_ms: float
    answered: int
    ended: dict[str, int]
    rejected: dict[str, int]
    memory_before_mib: float
    memory_peak_mib: float
    memory_after_mib: float
    idle_ms: float
    first_ms: float
    after_ms: float


def main() -> None:
    """Measure and print."""
    flags = parse_flags(__doc__)
    seconds = flags.pick(full=60.0, quick=10.0, smallest=2.0)
    clients = flags.pick(full=CLIENTS, quick=CLIENTS, smallest=20)
    processes = flags.pick(full=PROCESSES, quick=PROCESSES, smallest=1)
    ratios: dict[str, float] = {}
    reports: dict[str, Report] = {}
    with teacher_service(CHECKPOINT) as service:
        calibration_seconds = flags.pick(full=1.0, quick=0.5, smallest=0.05)
        forward = bare_forward("teacher", CHECKPOINT, service, calibration_seconds)
        bare = forward.rates[forward.best_rows]
        for name, changes in FLOODS.items():
            report = overload(
                service, seconds=seconds, clients=clients, processes=processes, **changes
            )
            _print(f"{clients} clients, {name}", report)
            ratios[f"{name} states over bare"] = report.states_per_second / bare
            ratios[f"{name} first over idle"] = report.first_ms / report.idle_ms
            reports[name] = report
    floods = {name: dataclasses.asdict(report) for name, report in reports.items()}
    print_ratios(ratios, flags, floods=floods)


def overload(
    service: Service,
    *,
    seconds: float,
    clients: int = CLIENTS,
    processes: int = PROCESSES,
    **changes: Any,
) -> Report:
    """Flood a service that is ready, and look at it before, during and after.

    Args:
        service: Who is asked.
        seconds: How long.
        clients: How many, spread evenly.
        processes: Over so many processes.
        **changes: Of `Flood`.
    """
    flood = Flood(
        address=service.address,
        clients=clients // processes,
        deadline_seconds=_DEADLINE_SECONDS,
        seconds=seconds,
        **changes,
    )
    idle = _single_queries(service)
    before = resident_bytes(service.pid)
    rejected = _rejected(service)
    with load_process(processes) as pool, PeakMemory(service.pid) as memory:
        jobs = [pool.submit(run_flood, flood) for _ in range(processes)]
        outcomes = [job.result() for job in jobs]
        after = _single_queries(service)
    outcome = _joined(outcomes)
    p50, p99 = np.percentile(outcome.latencies or [np.nan], (50, 99))
    return Report(
        states_per_second=flood.rows * len(outcome.latencies) / seconds,
        p50_ms=1e3 * float(p50),
        p99_ms=1e3 * float(p99),
        answered=len(outcome.latencies),
        ended=dict(outcome.codes),
        rejected=dict(_rejected(service) - rejected),
        memory_before_mib=before / 2**20,
        memory_peak_mib=memory.peak_bytes / 2**20,
        memory_after_mib=resident_bytes(service.pid) / 2**20,
        idle_ms=1e3 * statistics.median(idle),
        first_ms=1e3 * after[0],
        after_ms=1e3 * statistics.median(after),
    )


class PeakMemory:
    """Looks at a process's memory while a block lasts.

    Attributes:
        peak_bytes: The most that was seen.
    """

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> PeakMemory:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._is_over.is_set():
            self.peak_bytes = max(self.peak_bytes, resident_bytes(self._pid))
            self._is_over.wait(_MEMORY_PERIOD_SECONDS)


def _single_queries(service: Service) -> list[float]:
    """Seconds of single states, one after the other."""
    state = random_states(1, 1)[0]
    seconds = []
    with TeacherClient(service.address, shared_memory=False, timeout_seconds=60.0) as client:
        # The connection is there before the first is timed.
        client.describe()
        for _ in range(_SINGLE_QUERIES):
            asked_at = time.perf_counter()
            client.evaluate(state)
            seconds.append(time.perf_counter() - asked_at)
    return seconds


def _rejected(service: Service) -> Counter[str]:
    """Queries that were not taken in so far, by reason."""
    totals = read_totals(service, _REJECTED, "reason")
    return Counter({reason: int(count) for reason, count in totals.items()})


def _joined(outcomes: Sequence[FloodOutcome]) -> FloodOutcome:
    together = FloodOutcome()
    for outcome in outcomes:
        together.latencies += outcome.latencies
        together.codes += outcome.codes
    return together


def _print(name: str, report: Report) -> None:
    ended = ", ".join(f"{count} {code}" for code, count in sorted(report.ended.items()))
    rejected = ", ".join(f"{count} {reason}" for reason, count in report.rejected.items())
    print(
        f"{name}:\n"
        f"  answered  {report.answered} queries, {report.states_per_second:.0f} states/s, "
        f"p50 {report.p50_ms:.0f} ms, p99 {report.p99_ms:.0f} ms\n"
        f"  ended     {ended}\n"
        f"  rejected  {rejected or 'none'}\n"
        f"  memory    {report.memory_before_mib:.0f} MiB before, {report.memory_peak_mib:.0f} at "
        f"most, {report.memory_after_mib:.0f} after\n"
        f"  one query {report.idle_ms:.2f} ms before, {report.first_ms:.2f} the first after, "
        f"{report.after_ms:.2f} median after",
        flush=True,
    )


if __name__ == "__main__":
    main()
