"""Live progress of a suite: a table drawn in place on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from services.bench.plan import PlannedRun
from services.bench.run_messages import RunProgress
from services.launcher.progress_display import format_duration

PLAIN_INTERVAL_SECONDS = 30.0
"""Time between two plain lines about what is running."""


class BenchDisplay:
    """Shows where a suite stands; close it at the end.

    Args:
        runs: What this session is to do.
        finished: Runs that were finished before it.
        stream: Where to draw.
        interactive: Whether to draw in place; None asks the stream if it is a terminal.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        finished: int,
        *,
        stream: TextIO | None = None,
        interactive: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._updates = {run.name: run.updates for run in runs}
        self._total = finished + len(runs)
        self._finished = finished
        self._failed = 0
        # Gradient steps of each run: when it was first heard of in this session, and now.
        self._first: dict[str, int] = {}
        self._now: dict[str, int] = {}
        self._clock = clock
        self._started = clock()
        self._printed_at = clock()
        console = Console(file=sys.stdout if stream is None else stream, highlight=False)
        self._console = console
        if interactive is None:
            interactive = console.is_terminal and not console.is_dumb_terminal
        # Drawn on update only: nothing else may happen between a fork and its exec.
        self._live = (
            Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
            if interactive
            else None
        )

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()

    def started(self, run: PlannedRun) -> None:
        """Say that a worker has started a run."""
        self._say(f"starts    {run.name}")

    def ended(self, run: PlannedRun, how: str, why: str = "") -> None:
        """Say how a run ended: "finished", "stopped", "failed", or "resumes" for one to resume."""
        if how == "finished":
            self._finished += 1
            self._now[run.name] = run.updates
        elif how == "failed":
            self._failed += 1
            # Nothing of it is left to do.
            self._updates[run.name] = self._now.get(run.name, 0)
        self._say(f"{how:<9} {run.name}{why and ': '}{why}  ({self._counts()})")

    def update(self, progress: Mapping[str, RunProgress]) -> None:
        """Show how far the running ones are, by name."""
        for name, state in progress.items():
            self._first.setdefault(name, state.updates)
            self._now[name] = state.updates
        if self._live is not None:
            self._live.start()
            table = Table("run", "stage", "done", "updates/s", box=None, pad_edge=False)
            for name, state in progress.items():
                table.add_row(name, *self._state(name, state))
            self._live.update(Group(table, Text(self._counts())), refresh=True)
        elif progress and self._clock() - self._printed_at >= PLAIN_INTERVAL_SECONDS:
            self._printed_at = self._clock()
            states = []
            for name, state in progress.items():
                stage, done, rate = self._state(name, state)
                states.append(f"{name} {stage} {done}, {rate} updates/s")
            self._say("; ".join([self._counts(), *states]))

    def seconds_left(self) -> float | None:
        """Time the rest takes at the mean rate of this session; None while it is unknown."""
        worked = sum(self._now[name] - first for name, first in self._first.items())
        left = sum(updates - self._now.get(name, 0) for name, updates in self._updates.items())
        elapsed = self._clock() - self._started
        return left * elapsed / worked if worked > 0 else None

    def _state(self, name: str, state: RunProgress) -> tuple[str, str, str]:
        """Stage, share of the updates, updates per second."""
        share = 100 * state.updates // max(1, self._updates[name])
        stage = state.progress.stage.name.lower().replace("_", " ")
        return stage, f"{share}%", f"{state.updates_per_second:.0f}"

    def _counts(self) -> str:
        left = self.seconds_left()
        parts = [f"{self._finished} of {self._total} runs finished"]
        parts += [f"{self._failed} failed"] if self._failed else []
        parts += [f"about {format_duration(left)} left"] if left is not None else []
        return ", ".join(parts)

    def _say(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)
