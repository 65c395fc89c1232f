"""One session of a suite: check every run, execute what is not finished, write the results."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import os
import threading
from pathlib import Path

from rrl_agents.checkpoints.teacher_card import TeacherCard
from services.bench.collecting import collect
from services.bench.display import BenchDisplay
from services.bench.folder import LOCK, BenchFolder, drop_replay, make_folder, open_folder
from services.bench.plan import Plan, PlannedRun, plan_suite
from services.bench.results import write_results
from services.bench.scheduling import Outcome, Schedule
from services.bench.suite import Suite, read_suite
from services.bench.untrained_teacher import untrained_card
from services.bench.workers import Workers
from services.launcher.resolution import resolve
from services.shared.errors import UserError
from services.shared.locks import locked


@dataclasses.dataclass(frozen=True, kw_only=True)
class SessionResult:
    """How a session ended.

    Attributes:
        stopped: Whether it was stopped before its end.
        failures: Name of a run -> why it failed.
        finished: Runs that are finished, of those that were asked for.
        asked: Runs that were asked for.
    """

    stopped: bool
    failures: dict[str, str]
    finished: int
    asked: int


def run_suite(
    path: Path, out: Path, stop: threading.Event, *, jobs: int | None = None, only: str = "*"
) -> SessionResult:
    """Execute the runs of a suite that are not finished.

    Args:
        path: The suite's file.
        out: Its folder; made if absent, resumed if it is this suite's.
        stop: Ends the session early; each run saves a checkpoint first.
        jobs: Runs at a time; None for as many as there are cores.
        only: Shell pattern of the names of runs, ENTRY/GAME/seedK; teachers come along.

    Raises:
        UserError: the suite is not in order, the folder is another's or in use, or nothing has
            such a name.
    """
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs is {jobs}; use 1 or more")
    suite, text = read_suite(path)
    folder = BenchFolder(out.absolute())
    plan = _chosen(plan_suite(suite, folder), only)
    runs = [*plan.teachers, *plan.students]
    make_folder(folder)
    with locked(folder.path / LOCK):
        open_folder(folder, suite, text)
        _check_all(plan)
        for run in runs:
            # A worker may have been killed between a run's end and this.
            if run.is_finished and not run.keep_replay:
                drop_replay(run.folder)
        outcome = _execute(runs, folder, jobs or len(os.sched_getaffinity(0)), stop)
        failures = outcome.failures | _write_results(suite, folder)
    return SessionResult(
        stopped=outcome.stopped,
        failures=failures,
        finished=sum(run.is_finished for run in runs),
        asked=len(runs),
    )


def _write_results(suite: Suite, folder: BenchFolder) -> dict[str, str]:
    """Write what the whole suite has, also where a part of it was asked for; says why not."""
    try:
        write_results(folder, collect(plan_suite(suite, folder)))
    except (UserError, OSError) as error:
        return {"results": str(error)}
    return {}


def _chosen(plan: Plan, only: str) -> Plan:
    """The runs with such a name, and their teachers."""
    # "qdagger" means all of it, as a folder's name would.
    patterns = (only, f"{only.rstrip('/')}/*")
    students = tuple(
        run
        for run in plan.students
        if any(fnmatch.fnmatchcase(run.name, pattern) for pattern in patterns)
    )
    if not students:
        raise UserError(
            f"no run is called {only!r}; names are like {plan.students[0].name}, and * stands for "
            "anything"
        )
    needed = {run.needs for run in students}
    return Plan(
        teachers=tuple(run for run in plan.teachers if run.export in needed), students=students
    )


def _check_all(plan: Plan) -> None:
    """Resolve every run before the first starts, without its teacher where that is to be trained.

    Raises:
        UserError: one does not fit together; the message names it.
    """
    cards: dict[str, TeacherCard] = {}
    checked: set[tuple[str, str]] = set()
    for run in (*plan.teachers, *plan.students):
        # Runs that differ in their seeds fit together alike.
        if (run.entry, run.game) in checked or run.is_finished:
            continue
        checked.add((run.entry, run.game))
        try:
            if run.export is not None:
                cards[run.game] = untrained_card(run.config)
            resolve(run.config, cards.get(run.game) if run.needs is not None else None)
        except (UserError, ValueError) as error:
            raise UserError(f"{run.name}: {error}") from error


def _execute(
    runs: list[PlannedRun], folder: BenchFolder, jobs: int, stop: threading.Event
) -> Outcome:
    unfinished = [run for run in runs if not run.is_finished]
    workers = Workers(folder, min(jobs, max(1, len(unfinished))))
    display = BenchDisplay(unfinished, len(runs) - len(unfinished))
    with contextlib.closing(display), contextlib.closing(workers):
        return Schedule(unfinished, workers, display).run(stop)
