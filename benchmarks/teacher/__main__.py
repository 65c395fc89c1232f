"""What the teacher service costs: throughput, latency and CPU beside the bare forward.

Service, clients and bare forward are three processes. On a machine with few cores service and
clients share them: ratios of states per second then hold the cost of both ends, and CPU per state
of the server alone is the figure that says more.

Two limits: `jax`, the jitted function of the policy, and `served`, the backend the service has
chosen; both in a loop of one caller, in batches of the best of 8, 32, 64 and 128 states.

    python -m benchmarks.teacher --quick --json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence

from benchmarks.teacher.bare import BareForward
from benchmarks.teacher.bars import verdicts
from benchmarks.teacher.closed_loop import (
    Cell,
    Measured,
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
from services.teacher.config import ModelConfig
from services.teacher.policy import load_policy

LIMITS = ("jax", "served")
_OPEN_TRANSPORTS = ("stream", "same-host")
_CALIBRATION_SECONDS = 0.6


def main() -> None:
    """Measure and print."""
    flags = _parse_flags()
    keep_large_buffers()
    serve_flags = () if flags.backend is None else ("--backend", flags.backend)
    with teacher_service(CHECKPOINT, *serve_flags) as service:
        forwards = _bare_forwards(service)
        _print_machine(service, forwards)
        asked = [cell for cell in cells(service) if _is_wanted(cell, flags.only)]
        if not asked:
            sys.exit(f"no cell has {flags.only!r} in its name; leave --only out to see all")
        before = read_counts(service)
        rounds, seconds = (1, 1.0) if flags.quick else (flags.rounds, 3.0)
        measured = measure(service, forwards, asked, rounds=rounds, seconds=seconds)
        _print_table(measured)
        missed = _print_verdicts(measured)
        opened = _open_loop(service, measured, 2.0 if flags.quick else 8.0)
        print(f"\nbatching over all: {_batching(read_counts(service).since(before))}")
    if flags.json:
        print(json.dumps(_ratios(measured) | opened | {"bars_missed": missed}))


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="under two minutes, noisier")
    parser.add_argument("--json", action="store_true", help="end with one JSON object of ratios")
    parser.add_argument("--only", nargs="*", default=[], help="cells whose names hold any of these")
    parser.add_argument("--rounds", type=int, default=5, help="rounds over all cells, not --quick")
    parser.add_argument("--backend", choices=("jax", "onnx"), help="instead of the faster one")
    return parser.parse_args()


def _is_wanted(cell: Cell, only: Sequence[str]) -> bool:
    # "stream 64x1" must not mean "unix-stream 64x1".
    return not only or any(cell.name.startswith(part) or f" {part}" in cell.name for part in only)


def _bare_forwards(service: Service) -> list[BareForward]:
    model = ModelConfig(name="teacher", checkpoint=CHECKPOINT)
    jax = load_policy(model, backend="jax")
    served = (
        jax if service.backend.startswith("jax") else load_policy(model, backend="onnx", callers=1)
    )
    return [
        BareForward(name, policy, _CALIBRATION_SECONDS)
        for name, policy in zip(LIMITS, (jax, served), strict=True)
    ]


def _print_machine(service: Service, forwards: Sequence[BareForward]) -> None:
    print(
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}; {service.backend} serves; "
        "clients on uvloop"
    )
    for forward in forwards:
        rates = ", ".join(f"{rows}: {rate:.0f}" for rows, rate in forward.rates.items())
        print(f"bare {forward.name}: states/s by batch size {rates}; best {forward.best_rows}")


def _print_table(measured: Rounds) -> None:
    print(
        f"\n{'closed loop':<28}{'states/s':>9}{'/jax':>6}{'/served':>8}{'p50 ms':>8}{'p99 ms':>8}"
        f"{'p50/bare':>9}{'server us':>10}{'/bare':>6}{'client us':>10}{'batch':>7}{'padding':>8}"
        f"{'spread':>8}"
    )
    for cell, rounds in measured.items():
        ratios = [throughput_ratio("served")(each) for each in rounds]
        print(
            f"{cell.name:<28}"
            f"{median(rounds, lambda each: each.outcome.states_per_second):9.0f}"
            f"{median(rounds, throughput_ratio('jax')):6.2f}"
            f"{statistics.median(ratios):8.2f}"
            f"{median(rounds, lambda each: each.outcome.p50_ms):8.2f}"
            f"{median(rounds, lambda each: each.outcome.p99_ms):8.2f}"
            f"{median(rounds, latency_ratio('served')):9.2f}"
            f"{median(rounds, lambda each: each.outcome.server_us_per_state):10.0f}"
            f"{median(rounds, cpu_ratio('served')):6.2f}"
            f"{median(rounds, lambda each: each.outcome.client_us_per_state):10.0f}"
            f"{median(rounds, lambda each: each.counts.mean_batch):7.1f}"
            f"{median(rounds, lambda each: each.counts.padding_share):8.3f}"
            f"{max(ratios) - min(ratios):8.2f}"
        )
    everything = [each for rounds in measured.values() for each in rounds]
    for limit in LIMITS:
        _print_bare(limit, everything)


def _print_bare(limit: str, everything: Sequence[Measured]) -> None:
    speeds = [each.bare[limit] for each in everything]
    rates = [speed.states_per_second for speed in speeds]
    print(
        f"{'bare ' + limit:<28}{statistics.median(rates):9.0f}  "
        f"({min(rates):.0f} to {max(rates):.0f}), "
        f"1 state {statistics.median(speed.single_p50_ms for speed in speeds):.2f} ms, "
        f"CPU {statistics.median(speed.cpu_us_per_state for speed in speeds):.0f} us per state"
    )


def _print_verdicts(measured: Rounds) -> int:
    """Print every bar; how many were missed."""
    found = list(verdicts(measured, LIMITS))
    print()
    for verdict in found:
        print(verdict.line)
    return sum(not verdict.is_pass for verdict in found)


def _open_loop(service: Service, measured: Rounds, seconds: float) -> dict[str, float]:
    """Print the open loop's table; its p50 and p99 by name."""
    opened: dict[str, float] = {}
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
                    transport=cell.load.transport,
                    queries_per_second=fraction * capacity,
                )
                before = read_counts(service)
                outcome = process.submit(run_arrivals, arrivals, service.pid, seconds).result()
                counted = read_counts(service).since(before)
                name = f"{cell.transport} at {fraction}"
                _print_open(name, arrivals, outcome, counted)
                opened[f"{name} p50 ms"] = round(outcome.p50_ms, 3)
                opened[f"{name} p99 ms"] = round(outcome.p99_ms, 3)
    return opened


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


def _ratios(measured: Rounds) -> dict[str, float]:
    """By "<cell> <figure>", against each limit."""
    found: dict[str, float] = {}
    for cell, rounds in measured.items():
        for limit in LIMITS:
            found[f"{cell.name} over {limit}"] = round(median(rounds, throughput_ratio(limit)), 4)
            found[f"{cell.name} cpu over {limit}"] = round(median(rounds, cpu_ratio(limit)), 4)
            found[f"{cell.name} p50 over {limit}"] = round(median(rounds, latency_ratio(limit)), 4)
    return found


if __name__ == "__main__":
    main()
