"""Live progress of a suite: a table, in place on a terminal, elsewhere printed now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from services.bench.plan import PlannedRun
from services.bench.run_messages import RunProgress
from services.launcher.progress_display import format_duration
from services.shared.logging import Occasionally

PLAIN_INTERVAL_SECONDS = 30.0
"""Time between two tables of what is running, where they are not drawn in place."""


class BenchDisplay:
    """Shows where a suite stands; close it at the end.

    Args:
        runs: What this session is to do.
        finished: Runs that were finished before it.
        console: Where to draw; None for stdout.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        finished: int,
        *,
        console: Console | None = None,
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
        self._is_due = Occasionally(PLAIN_INTERVAL_SECONDS, at_once=False, clock=clock)
        self._console = Console(highlight=False) if console is None else console
        self._live = Live(console=self._console, auto_refresh=False)

    def close(self) -> None:
        """Leave the terminal as it was."""
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
        table = Table("run", "stage", "done", "updates/s", box=None, pad_edge=False)
        for name, state in progress.items():
            updates = state.progress.learner_updates
            self._first.setdefault(name, updates)
            self._now[name] = updates
            stage = state.progress.stage.name.lower().replace("_", " ")
            share = 100 * updates // max(1, self._updates[name])
            table.add_row(name, stage, f"{share}%", f"{state.updates_per_second:.0f}")
        shown = Group(Text(self._counts()), table)
        if self._console.is_terminal:
            self._live.start()
            self._live.update(shown, refresh=True)
        elif progress and self._is_due():
            self._console.print(shown)

    def seconds_left(self) -> float | None:
        """Time the rest takes at the mean rate of this session; None while it is unknown."""
        worked = sum(self._now[name] - first for name, first in self._first.items())
        left = sum(updates - self._now.get(name, 0) for name, updates in self._updates.items())
        elapsed = self._clock() - self._started
        return left * elapsed / worked if worked > 0 else None

    def _counts(self) -> str:
        left = self.seconds_left()
        failed = f", {self._failed} failed" if self._failed else ""
        time_left = f", about {format_duration(left)} left" if left is not None else ""
        return f"{self._finished} of {self._total} runs finished{failed}{time_left}"

    def _say(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)
