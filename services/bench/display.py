"""Live progress of a suite: a bar for each run on a terminal, occasional log lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.text import Text

from rrl_agents.types import Progress, Stage
from services.bench.plan import PlannedRun
from services.launcher.progress_display import stage_name
from services.library.fetch.progress import WorkProgress

LINE_SECONDS = 30.0
"""Time between log lines about one run."""


class BenchDisplay:
    """Shows the progress of a suite while `bars` is entered.

    Args:
        runs: Runs of this session.
        finished: Number of runs that had finished before.
        console: Console to draw on; None for stdout.
        line_seconds: Time between log lines about one run.
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
        self._teacher_steps = {run.name: run.config.teacher_steps for run in runs}
        self._done: dict[str, int] = {}
        self._total = finished + len(runs)
        self._finished = finished
        self._failed = 0
        self._work = WorkProgress(
            console or Console(highlight=False), amount="{:,.0f}".format, line_seconds=line_seconds
        )
        self.bars = self._work.bars
        self._show_all = self._work.begin("all updates", sum(self._updates.values()), 0)
        (self._all,) = self.bars.tasks
        self._shown: dict[str, Callable[[int], None]] = {}

    def started(self, run: PlannedRun) -> None:
        """Print that a worker has started a run."""
        self._say(f"starts    {run.name}")

    def ended(self, run: PlannedRun, how: str, why: str = "") -> None:
        """Print how a run ended: "finished", "stopped", "failed", or "resumes" if it will."""
        self._finished += how == "finished"
        self._failed += how == "failed"
        if how in ("finished", "failed"):
            # The run has no work left.
            self._skip({run.name: run.updates})
        failed = f", {self._failed} failed" if self._failed else ""
        counts = f"{self._finished} of {self._total} runs finished{failed}"
        self._say(f"{how:<9} {run.name}{why and ': '}{why}  ({counts})")

    def update(self, progress: Mapping[str, Progress]) -> None:
        """Show how far the running runs are, by name, and the gradient steps of all."""
        now = {name: state.learner_updates for name, state in progress.items()}
        if resumed := {name: now[name] for name in now.keys() - self._done.keys() if now[name] > 0}:
            self._skip(resumed)
        self._done |= now
        self._show_all(sum(self._done.values()))
        running = [self._bar(name, state) for name, state in progress.items()]
        for label, total, done in running:
            if label not in self._shown:
                self._shown[label] = self._work.begin(label, total, done)
            self._shown[label](done)
        labels = {label for label, _, _ in running}
        for label, task in zip(self._shown, self.bars.tasks[1:], strict=True):
            task.visible = label in labels

    def _bar(self, name: str, state: Progress) -> tuple[str, int, int]:
        """A run's label, and the total and present length of its bar."""
        label = f"{name} {stage_name(state.stage)}"
        if state.stage is Stage.COLLECT and (wanted := self._teacher_steps[name]):
            # Updates only start once the teacher's table is full.
            return f"{label} steps", wanted, state.teacher_steps
        return label, self._updates[name], state.learner_updates

    def _skip(self, done: Mapping[str, int]) -> None:
        """Exclude work that this session did not do from the speed."""
        self._done |= done
        self.bars.reset(self._all.id, completed=sum(self._done.values()))

    def _say(self, line: str) -> None:
        self.bars.console.print(Text(line), soft_wrap=True)
