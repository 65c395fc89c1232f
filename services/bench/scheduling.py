"""Which run comes next, and what became of those before: the bench's main loop.

Teachers come first; a student's run waits for its teacher alone. A run that fails is named at the
end and stops no other. A worker that dies costs its run the time since the run's last checkpoint.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from services.bench.plan import PlannedRun
from services.bench.run_messages import Doing
from services.bench.workers import CHECKPOINT_SECONDS, News, Workers

MAX_DEATHS = 3
"""A run whose worker died so often has failed: it is not by accident."""

_POLL_SECONDS = 1.0


class Watcher(Protocol):
    """Who is told what happens."""

    def begun(self, run: PlannedRun) -> None:
        """A run was given to a worker."""

    def ended(self, run: PlannedRun, how: str) -> None:
        """A run ended: "finished", "stopped", "failed: ...", or "goes on: ..." (resumes)."""

    def look(self, doing: Mapping[str, Doing]) -> None:
        """How far the running ones are, by name; about once a second."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a session.

    Attributes:
        stopped: Whether it was stopped before its end.
        failures: Name of a run -> why it failed.
    """

    stopped: bool
    failures: dict[str, str]


class Schedule:
    """Carries out runs until none is left or it is told to stop.

    Args:
        runs: What is to be done, in this order.
        workers: Who does it.
        watcher: Who is told.
    """

    def __init__(self, runs: Iterable[PlannedRun], workers: Workers, watcher: Watcher) -> None:
        self._waiting = collections.deque(runs)
        self._workers = workers
        self._watcher = watcher
        self._deaths: collections.Counter[str] = collections.Counter()
        self._failures: dict[str, str] = {}

    def run(self, stop: threading.Event) -> Outcome:
        """Work until everything is done or failed, or `stop` is set."""
        told, patience = False, math.inf
        while self._workers.running or (self._waiting and not told):
            if stop.is_set() and not told:
                self._workers.stop()
                told, patience = True, time.monotonic() + CHECKPOINT_SECONDS
            if time.monotonic() > patience:
                break
            if not told:
                self._give()
            for news in self._workers.news(_POLL_SECONDS):
                self._take(news, told)
            self._watcher.look(self._workers.doing)
        return Outcome(stopped=told, failures=self._failures)

    def _give(self) -> None:
        while self._workers.has_room and (run := self._next()) is not None:
            self._workers.give(run)
            self._watcher.begun(run)

    def _next(self) -> PlannedRun | None:
        """The first run whose teacher is there; runs whose teacher will not come have failed."""
        exports = {
            run.export for run in (*self._waiting, *self._workers.running) if run.export is not None
        }
        for run in tuple(self._waiting):
            if run.needs is None or run.needs.is_dir():
                self._waiting.remove(run)
                return run
            if run.needs not in exports:
                self._waiting.remove(run)
                self._fail(run, f"its teacher {run.needs} was not made")
        return None

    def _take(self, news: News, stopping: bool) -> None:
        if news.ended is None:
            self._bury(news, stopping)
        elif news.ended.error is not None:
            self._fail(news.run, news.ended.error)
        else:
            self._watcher.ended(news.run, "finished" if news.ended.finished else "stopped")

    def _bury(self, news: News, stopping: bool) -> None:
        name = news.run.name
        self._deaths[name] += 1
        if self._deaths[name] >= MAX_DEATHS:
            self._fail(news.run, f"{news.death}, for the {MAX_DEATHS}. time")
            return
        self._watcher.ended(news.run, f"goes on: {news.death}")
        if not stopping:
            self._waiting.appendleft(news.run)

    def _fail(self, run: PlannedRun, error: str) -> None:
        self._failures[run.name] = error
        self._watcher.ended(run, f"failed: {error}")
