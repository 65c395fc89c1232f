"""Live progress of a suite: a bar for each run in a terminal, now and then a log line elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.text import Text

from rrl_agents.types import Progress
from services.bench.plan import PlannedRun
from services.library.fetch.progress import WorkProgress

LINE_SECONDS = 30.0
"""Time between two log lines about one run."""

_ALL = "all updates"


class BenchDisplay:
    """Shows where a suite stands, while `bars` is entered.

    Args:
        runs: What this session is to do.
        finished: Runs that were finished before it.
        console: Where to draw; None for stdout.
        line_seconds: Between two log lines about one run.
    """

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        finished: int,
        *,
        console: Console | None = None,
        line_seconds: float = LINE_SECONDS,
    ) -> None:
        self._updates = {run.name: run.updates for run in runs}
        self._done = dict.fromkeys(self._updates, 0)
        self._total = finished + len(runs)
        self._finished = finished
        self._failed = 0
        self._work = WorkProgress(
            console or Console(highlight=False), amount="{:,.0f}".format, line_seconds=line_seconds
        )
        self.bars = self._work.bars
        self._shown: dict[str, Callable[[int], None]] = {}

    def started(self, run: PlannedRun) -> None:
        """Say that a worker has started a run."""
        self._say(f"starts    {run.name}")

    def ended(self, run: PlannedRun, how: str, why: str = "") -> None:
        """Say how a run ended: "finished", "stopped", "failed", or "resumes" for one to resume."""
        self._finished += how == "finished"
        self._failed += how == "failed"
        if how in ("finished", "failed"):
            # Nothing of it is left to do.
            self._done[run.name] = run.updates
        failed = f", {self._failed} failed" if self._failed else ""
        counts = f"{self._finished} of {self._total} runs finished{failed}"
        self._say(f"{how:<9} {run.name}{why and ': '}{why}  ({counts})")

    def update(self, progress: Mapping[str, Progress]) -> None:
        """Show how many gradient steps there are: of the running ones, by name, and of all."""
        self._done |= {name: state.learner_updates for name, state in progress.items()}
        self._show(_ALL, sum(self._done.values()), sum(self._updates.values()))
        for name in progress:
            self._show(name, self._done[name], self._updates[name])
        for name, task in zip(self._shown, self.bars.tasks, strict=True):
            task.visible = name == _ALL or name in progress

    def _show(self, name: str, done: int, total: int) -> None:
        if name not in self._shown:
            self._shown[name] = self._work.begin(name, total, done)
        self._shown[name](done)

    def _say(self, line: str) -> None:
        self.bars.console.print(Text(line), soft_wrap=True)
