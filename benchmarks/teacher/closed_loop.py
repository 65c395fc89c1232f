"""The closed-loop table: every transport under every load, compared with the bare forward pass.

The bare forward pass is measured before and after every cell, and the cell is compared with the
mean of both, so that a slow minute of the machine affects both. Rounds repeat all cells; results
are medians over the rounds.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks.teacher.bare import BareForward, Speed
from benchmarks.teacher.load import Clients, Load, Outcome, run_load
from benchmarks.teacher.service import Counts, Service, read_counts

LOADS = tuple((clients, rows) for clients in (1, 8, 64) for rows in (1, 32))
"""Clients and states per query of the table's columns."""

_BARE_SHARE = 0.3
"""Time of each look at a bare forward, as a share of a cell's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One place of the table.

    Attributes:
        transport: Its name in the table.
        load: What is asked.
    """

    transport: str
    load: Load

    @property
    def name(self) -> str:
        """E.g. "stream 8x32", with how the clients live where that is not in one event loop."""
        kind = "" if self.load.kind == "asyncio" else f" {self.load.kind}"
        return f"{self.transport} {self.load.clients}x{self.load.rows}{kind}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """One round of a cell.

    Attributes:
        outcome: What its clients and processes say.
        bare: The bare forward's speed around that time.
        counts: What the service counted.
    """

    outcome: Outcome
    bare: Speed
    counts: Counts


Rounds = Mapping[Cell, Sequence[Measured]]
"""What was measured of each cell, one entry per round."""


def cells(service: Service) -> list[Cell]:
    """All cells: the table, the clients that share nothing, and the synchronous clients."""
    reached = {
        "stream": (service.address, False),
        "unix-stream": (service.unix_address, False),
        "same-host": (service.address, True),
    }

    def cell(name: str, clients: int, rows: int, kind: Clients = "asyncio") -> Cell:
        address, shared_memory = reached[name]
        load = Load(
            address=address, shared_memory=shared_memory, clients=clients, rows=rows, kind=kind
        )
        return Cell(transport=name, load=load)

    table = [cell(name, *load) for name in reached for load in LOADS]
    for name in ("stream", "same-host"):
        table += [
            cell(name, 64, 1, "unshared"),
            cell(name, 8, 32, "unshared"),
            cell(name, 1, 1, "threads"),
            cell(name, 8, 32, "threads"),
        ]
    return table


def measure(
    service: Service,
    forward: BareForward,
    asked: Sequence[Cell],
    *,
    rounds: int,
    seconds: float,
) -> Rounds:
    """Measure cells in turns with the bare forwards.

    Args:
        service: Who is asked.
        forward: What it is set against.
        asked: Cells, in order.
        rounds: How often to go over all of them.
        seconds: Window of each cell.
    """
    measured: dict[Cell, list[Measured]] = {cell: [] for cell in asked}
    with load_process() as process:
        for _ in range(rounds):
            before = forward.measure(_BARE_SHARE * seconds)
            for cell in asked:
                counts = read_counts(service)
                job = process.submit(run_load, cell.load, service.pid, seconds)
                outcome = job.result()
                counted = read_counts(service).since(counts)
                after = forward.measure(_BARE_SHARE * seconds)
                bare = Speed.mean(before, after)
                measured[cell].append(Measured(outcome=outcome, bare=bare, counts=counted))
                before = after
    return measured


def load_process(processes: int = 1) -> concurrent.futures.ProcessPoolExecutor:
    """Processes for clients, which import what they need and no more."""
    # Started afresh, not forked: they must not hold this process's JAX.
    return concurrent.futures.ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn")
    )


def median(rounds: Sequence[Measured], of: Callable[[Measured], float]) -> float:
    """Median over the rounds of a figure of each: numbers of one round met the same machine."""
    return statistics.median(of(measured) for measured in rounds)


def throughput_ratio(each: Measured) -> float:
    """States per second over those of the bare forward."""
    return each.outcome.states_per_second / each.bare.states_per_second


def cpu_ratio(each: Measured) -> float:
    """Server CPU per state over that of the bare forward."""
    return each.outcome.server_us_per_state / each.bare.cpu_us_per_state


def latency_ratio(each: Measured) -> float:
    """Median latency over the bare single forward's."""
    return each.outcome.p50_ms / each.bare.single_p50_ms


def latency_over_limit(each: Measured) -> float:
    """Median latency over 1.3 bare single forwards and 0.3 ms."""
    return each.outcome.p50_ms / (1.3 * each.bare.single_p50_ms + 0.3)
