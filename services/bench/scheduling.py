"""Which run comes next, and how those before ended: the bench's main loop.

Teachers come first; a student's run waits for its teacher alone. A run that fails is named at the
end and stops no other. A worker that dies costs its run the time since the run's last checkpoint.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterable

from services.bench.display import BenchDisplay
from services.bench.plan import PlannedRun
from services.bench.run_messages import RunResult
from services.bench.workers import Workers

MAX_DEATHS = 3
"""A run whose worker died so often has failed."""

_POLL_SECONDS = 1.0


class Schedule:
    """Has workers execute runs until none is left or it is stopped.

    Args:
        runs: What is to be done, in this order.
        workers: They execute runs.
        display: Shows what happens.

    Attributes:
        failures: Name of a run -> why it failed.
    """

    def __init__(self, runs: Iterable[PlannedRun], workers: Workers, display: BenchDisplay) -> None:
        self.failures: dict[str, str] = {}
        self._waiting = collections.deque(runs)
        self._workers = workers
        self._display = display
        self._deaths: collections.Counter[str] = collections.Counter()

    def run(self, stop: threading.Event) -> None:
        """Work until every run is finished or has failed, or `stop` is set."""
        while self._workers.running or (self._waiting and not stop.is_set()):
            if stop.is_set():
                self._workers.stop()
            else:
                self._start_runs()
            for run, result in self._workers.results(_POLL_SECONDS):
                self._take(run, result)
            self._display.update(self._workers.progress)

    def _start_runs(self) -> None:
        while self._workers.has_room and (run := self._next()) is not None:
            self._workers.start(run)
            self._display.started(run)

    def _next(self) -> PlannedRun | None:
        """The first run whose teacher is there; runs whose teacher will not come have failed."""
        exports = {run.export for run in (*self._waiting, *self._workers.running)}
        for run in tuple(self._waiting):
            if run.needs is None or run.needs.is_dir():
                self._waiting.remove(run)
                return run
            if run.needs not in exports:
                self._waiting.remove(run)
                self._fail(run, f"its teacher {run.needs} was not made")
        return None

    def _take(self, run: PlannedRun, result: RunResult) -> None:
        if result.error is None:
            self._display.ended(run, "finished" if result.finished else "stopped")
            return
        self._deaths[run.name] += result.died
        if not result.died:
            self._fail(run, result.error)
        elif self._deaths[run.name] >= MAX_DEATHS:
            self._fail(run, f"{result.error}, {MAX_DEATHS} times")
        else:
            self._display.ended(run, "resumes", result.error)
            self._waiting.appendleft(run)

    def _fail(self, run: PlannedRun, error: str) -> None:
        self.failures[run.name] = error
        self._display.ended(run, "failed", error)
