"""What the teacher service costs: throughput, latency and CPU relative to the bare forward pass.

Service, clients and bare forward pass are three processes. On a machine with few cores service and
clients share them: ratios of states per second then include the cost of both ends, and the server's
CPU time per state is the more useful number.

There is a table for each backend, JAX and ONNX Runtime. Its limit is the same backend's bare
forward pass: the policy in a loop with one caller, with the best batch size of 8, 32, 64 and 128.

Ratios, by "<backend> <transport> <clients>x<states>":
    states     states/s over the bare forward pass (higher is better)
    cpu        server CPU per state over the bare forward pass's (lower is better)
    p50        median latency over a bare forward pass of one state (lower is better)

    python -m benchmarks.teacher --quick --json
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence

from benchmarks.harness import Flags, make_parser, print_ratios, read_flags
from benchmarks.teacher.bare import Speed, bare_forward
from benchmarks.teacher.bars import verdicts
from benchmarks.teacher.closed_loop import (
    Cell,
    Rounds,
    cells,
    cpu_ratio,
    latency_ratio,
    load_process,
    measure,
    median,
    throughput_ratio,
)
from benchmarks.teacher.open_loop import FRACTIONS, Arrivals, OpenOutcome, run_arrivals
from benchmarks.teacher.service import (
    CHECKPOINT,
    Counts,
    Service,
    read_counts,
    teacher_service,
)
from services.shared.allocator import keep_large_buffers

BACKENDS = {"jax": "JAX", "onnx": "ONNX Runtime"}
_OPEN_TRANSPORTS = ("stream", "same-host")
_SMALLEST = ("stream 1x1", "same-host 64x1")


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--only", nargs="*", default=[], help="cells whose names contain any of these"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds over all cells, without --quick"
    )
    parser.add_argument(
        "--backend", choices=tuple(BACKENDS), help="print only this backend's table"
    )
    flags, given = read_flags(parser)
    keep_large_buffers()
    ratios: dict[str, float] = {}
    missed = 0
    for backend in BACKENDS if given.backend is None else (given.backend,):
        found, missed_here = _table(backend, flags, given)
        ratios |= found
        missed += missed_here
    print_ratios(ratios, flags, bars_missed=missed)


def _table(backend: str, flags: Flags, given: argparse.Namespace) -> tuple[dict[str, float], int]:
    """Measure and print one backend; its ratios, and how many bars it missed."""
    rounds = flags.pick(full=given.rounds, quick=1, smallest=1)
    seconds = flags.pick(full=3.0, quick=1.0, smallest=0.5)
    calibration_seconds = flags.pick(full=0.6, quick=0.6, smallest=0.05)
    with teacher_service(CHECKPOINT, "--backend", backend) as service:
        print(f"\n{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}; clients on uvloop")
        forward = bare_forward(backend, CHECKPOINT, service, calibration_seconds)
        only = given.only or (_SMALLEST if flags.size == "smallest" else ())
        asked = [cell for cell in cells(service) if _is_wanted(cell, only)]
        if not asked:
            sys.exit(f"no cell has {only!r} in its name; leave --only out to see all")
        before = read_counts(service)
        measured = measure(service, forward, asked, rounds=rounds, seconds=seconds)
        _print_table(BACKENDS[backend], measured)
        missed = _print_verdicts(measured)
        _open_loop(service, measured, flags.pick(full=8.0, quick=2.0, smallest=0.2))
        print(f"\nbatching over all: {_batching(read_counts(service).since(before))}")
    return _ratios(backend, measured), missed


def _is_wanted(cell: Cell, only: Sequence[str]) -> bool:
    # "stream 64x1" must not mean "unix-stream 64x1".
    return not only or any(cell.name.startswith(part) or f" {part}" in cell.name for part in only)


def _print_table(name: str, measured: Rounds) -> None:
    print(
        f"\n{'closed loop, ' + name:<28}{'states/s':>9}{'/bare':>8}{'p50 ms':>8}{'p99 ms':>8}"
        f"{'p50/bare':>9}{'server us':>10}{'/bare':>6}{'client us':>10}{'batch':>7}{'padding':>8}"
        f"{'spread':>8}"
    )
    for cell, rounds in measured.items():
        ratios = [throughput_ratio(each) for each in rounds]
        print(
            f"{cell.name:<28}"
            f"{median(rounds, lambda each: each.outcome.states_per_second):9.0f}"
            f"{statistics.median(ratios):8.2f}"
            f"{median(rounds, lambda each: each.outcome.p50_ms):8.2f}"
            f"{median(rounds, lambda each: each.outcome.p99_ms):8.2f}"
            f"{median(rounds, latency_ratio):9.2f}"
            f"{median(rounds, lambda each: each.outcome.server_us_per_state):10.0f}"
            f"{median(rounds, cpu_ratio):6.2f}"
            f"{median(rounds, lambda each: each.outcome.client_us_per_state):10.0f}"
            f"{median(rounds, lambda each: each.counts.mean_batch):7.1f}"
            f"{median(rounds, lambda each: each.counts.padding_share):8.3f}"
            f"{max(ratios) - min(ratios):8.2f}"
        )
    _print_bare([each.bare for rounds in measured.values() for each in rounds])


def _print_bare(speeds: Sequence[Speed]) -> None:
    rates = [speed.states_per_second for speed in speeds]
    print(
        f"{'bare forward':<28}{statistics.median(rates):9.0f}  "
        f"({min(rates):.0f} to {max(rates):.0f}), "
        f"1 state {statistics.median(speed.single_p50_ms for speed in speeds):.2f} ms, "
        f"CPU {statistics.median(speed.cpu_us_per_state for speed in speeds):.0f} us per state"
    )


def _print_verdicts(measured: Rounds) -> int:
    """Print every bar; how many were missed."""
    found = list(verdicts(measured))
    print()
    for verdict in found:
        print(verdict.line)
    return sum(not verdict.is_pass for verdict in found)


def _open_loop(service: Service, measured: Rounds, seconds: float) -> None:
    print(
        f"\n{'open loop, 1 state':<28}{'asked/s':>9}{'got/s':>8}{'p50 ms':>8}{'p99 ms':>8}"
        f"{'refused':>8}{'failed':>8}{'server us':>10}{'batch':>7}{'sent late ms':>13}"
    )
    with load_process() as process:
        for cell, rounds in measured.items():
            is_capacity = (cell.load.clients, cell.load.rows) == (64, 1)
            if cell.transport not in _OPEN_TRANSPORTS or not is_capacity:
                continue
            if cell.load.kind != "asyncio":
                continue
            capacity = median(rounds, lambda each: each.outcome.states_per_second)
            for fraction in FRACTIONS:
                arrivals = Arrivals(
                    address=cell.load.address,
                    shared_memory=cell.load.shared_memory,
                    queries_per_second=fraction * capacity,
                )
                before = read_counts(service)
                outcome = process.submit(run_arrivals, arrivals, service.pid, seconds).result()
                counted = read_counts(service).since(before)
                _print_open(f"{cell.transport} at {fraction}", arrivals, outcome, counted)


def _print_open(name: str, arrivals: Arrivals, outcome: OpenOutcome, counted: Counts) -> None:
    print(
        f"{name:<28}{arrivals.queries_per_second:9.0f}{outcome.queries_per_second:8.0f}"
        f"{outcome.p50_ms:8.2f}{outcome.p99_ms:8.2f}{outcome.refused_share:8.3f}"
        f"{outcome.failed_share:8.3f}{outcome.server_us_per_state:10.0f}"
        f"{counted.mean_batch:7.1f}{outcome.sent_late_ms:13.2f}"
    )


def _batching(counted: Counts) -> str:
    compiled = "PASS" if counted.compilations == 0 else "FAIL"
    return (
        f"{counted.batches:.0f} batches of {counted.mean_batch:.1f} states, padding "
        f"{counted.padding_share:.4f} of the rows, {counted.refused:.0f} refused, "
        f"{counted.expired:.0f} expired; {compiled}  {counted.compilations:.0f} compilations "
        "after readiness"
    )


def _ratios(backend: str, measured: Rounds) -> dict[str, float]:
    figures = {"states": throughput_ratio, "cpu": cpu_ratio, "p50": latency_ratio}
    return {
        f"{backend} {cell.name} {figure}": median(rounds, of)
        for cell, rounds in measured.items()
        for figure, of in figures.items()
    }


if __name__ == "__main__":
    main()
