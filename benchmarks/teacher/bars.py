"""The service's targets, checked against what was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from benchmarks.teacher.closed_loop import (
    Measured,
    Rounds,
    cpu_ratio,
    latency_over_limit,
    median,
    throughput_ratio,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bar:
    """One thing to reach in one cell of every transport.

    Attributes:
        load: Clients and states per query.
        says: What is compared.
        figure: The figure of a round against the bare forward.
        limit: What the figure is to reach.
        same_host_limit: The same on the same-host path.
        is_ceiling: Whether the figure is to stay below.
    """

    load: tuple[int, int]
    says: str
    figure: Callable[[Measured], float]
    limit: float
    same_host_limit: float
    is_ceiling: bool = False

    def reached(self, transport: str) -> float:
        """What counts for a transport."""
        return self.same_host_limit if transport == "same-host" else self.limit

    def passes(self, transport: str, value: float) -> bool:
        """Whether a figure is good enough."""
        limit = self.reached(transport)
        return value <= limit if self.is_ceiling else value >= limit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """A bar at one transport.

    Attributes:
        transport: As in the table.
        bar: What was to be reached.
        value: What was measured.
    """

    transport: str
    bar: Bar
    value: float

    @property
    def is_pass(self) -> bool:
        """Whether it is reached."""
        return self.bar.passes(self.transport, self.value)

    @property
    def line(self) -> str:
        """The verdict as a line of text."""
        clients, rows = self.bar.load
        sign = "<=" if self.bar.is_ceiling else ">="
        limit = self.bar.reached(self.transport)
        return (
            f"{'PASS' if self.is_pass else 'FAIL'}  {self.transport:<12} {clients}x{rows:<3} "
            f"{self.bar.says:<34} {self.value:6.2f} {sign} {limit:.2f}"
        )


BARS = (
    Bar(
        load=(8, 32),
        says="states/s over bare",
        figure=throughput_ratio,
        limit=0.85,
        same_host_limit=0.90,
    ),
    Bar(
        load=(64, 32),
        says="states/s over bare",
        figure=throughput_ratio,
        limit=0.85,
        same_host_limit=0.90,
    ),
    Bar(
        load=(64, 1),
        says="states/s over bare",
        figure=throughput_ratio,
        limit=0.80,
        same_host_limit=0.90,
    ),
    Bar(
        load=(64, 1),
        says="server CPU per state over bare",
        figure=cpu_ratio,
        limit=1.2,
        same_host_limit=1.2,
        is_ceiling=True,
    ),
    Bar(
        load=(1, 1),
        says="p50 over (1.3 bare p50 + 0.3 ms)",
        figure=latency_over_limit,
        limit=1.0,
        same_host_limit=1.0,
        is_ceiling=True,
    ),
)


def verdicts(measured: Rounds) -> Iterator[Verdict]:
    """Every bar at every transport; clients in an event loop count."""
    for cell, rounds in measured.items():
        load = (cell.load.clients, cell.load.rows)
        for bar in BARS:
            if bar.load != load or cell.load.kind != "asyncio":
                continue
            value = median(rounds, bar.figure)
            yield Verdict(transport=cell.transport, bar=bar, value=value)
