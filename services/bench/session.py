"""One session of a suite: checks every run, executes unfinished ones, writes the results.

Teachers come first; a student's run waits only for its own teacher. A failed run does not stop the
others and is reported at the end. If a worker dies, its run resumes from its last checkpoint.
"""

from __future__ import annotations

import collections
import dataclasses
import fnmatch
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from pathlib import Path

import jax

from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.networks.registry import initial_params, make_network
from rrl_agents.types import Progress
from services.bench.collecting import collect
from services.bench.display import BenchDisplay
from services.bench.folder import LOCK, BenchFolder, make_folder
from services.bench.plan import PlannedRun, RunResult, keep_suite, plan_suite
from services.bench.results import write_results
from services.bench.suite import read_suite
from services.bench.workers import Report, Workers
from services.launcher.compiled_functions import tidy_compiled_functions
from services.launcher.experiment import Experiment
from services.launcher.resolution import resolve
from services.shared.errors import UserError, user_errors
from services.shared.locks import locked

MAX_DEATHS = 3
"""A run fails after this many deaths of its worker."""

_POLL_SECONDS = 1.0


class Schedule:
    """Executes runs with workers until none is left or it is stopped.

    Args:
        runs: The runs, in order.
        execute: Executes a run to its end, like `Workers.execute`; called from several threads.
        display: Shows the progress.

    Attributes:
        failures: Name of a run -> why it failed.
    """

    def __init__(
        self,
        runs: Iterable[PlannedRun],
        execute: Callable[[PlannedRun, Report], RunResult],
        display: BenchDisplay,
    ) -> None:
        self.failures: dict[str, str] = {}
        self._waiting = collections.deque(runs)
        self._running: dict[futures.Future[RunResult], PlannedRun] = {}
        self._progress: dict[str, Progress] = {}
        self._execute = execute
        self._display = display
        self._deaths: collections.Counter[str] = collections.Counter()

    def run(self, jobs: int, stop: threading.Event) -> None:
        """Run until every run is finished or has failed, or `stop` is set.

        Args:
            jobs: Runs at a time.
            stop: Prevents further starts; `execute` must check it, too. An error sets it.
        """
        with futures.ThreadPoolExecutor(jobs) as pool:
            try:
                while self._running or (self._waiting and not stop.is_set()):
                    while len(self._running) < jobs and not stop.is_set() and (run := self._next()):
                        self._running[pool.submit(self._execute, run, self._report)] = run
                        self._display.started(run)
                    self._take_ended()
            except BaseException:
                stop.set()
                raise

    def _report(self, run: PlannedRun, progress: Progress) -> None:
        self._progress[run.name] = progress

    def _next(self) -> PlannedRun | None:
        """The first run whose teacher exists; fails runs whose teacher has failed."""
        exports = {run.export for run in (*self._waiting, *self._running.values())}
        for run in tuple(self._waiting):
            if run.needs is None or run.needs.is_dir():
                self._waiting.remove(run)
                return run
            if run.needs not in exports:
                self._waiting.remove(run)
                self._fail(run, f"its teacher {run.needs} does not exist, because its run failed")
        return None

    def _take_ended(self) -> None:
        done, _ = futures.wait(self._running, _POLL_SECONDS, futures.FIRST_COMPLETED)
        for future in done:
            run, result = self._running.pop(future), future.result()
            self._progress.pop(run.name, None)
            self._deaths[run.name] += result.died
            if result.error is None:
                self._display.ended(run, "finished" if result.finished else "stopped")
            elif not result.died:
                self._fail(run, result.error)
            elif self._deaths[run.name] >= MAX_DEATHS:
                self._fail(run, f"{result.error}, {MAX_DEATHS} times")
            else:
                self._display.ended(run, "resumes", result.error)
                self._waiting.appendleft(run)
        self._display.update(dict(self._progress))

    def _fail(self, run: PlannedRun, error: str) -> None:
        self.failures[run.name] = error
        self._display.ended(run, "failed", error)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SessionResult:
    """How a session ended.

    Attributes:
        failures: Name of a run -> why it failed.
        finished: Finished runs among the requested ones.
        asked: Requested runs.
    """

    failures: dict[str, str]
    finished: int
    asked: int


def run_suite(
    path: Path, out: Path, stop: threading.Event, *, jobs: int | None = None, only: str = "*"
) -> SessionResult:
    """Execute the runs of a suite that are not finished.

    Args:
        path: The suite's file.
        out: Its folder; created if missing, resumed if it belongs to this suite.
        stop: Ends the session early; each run saves a checkpoint first.
        jobs: Runs at a time; None for as many as there are cores.
        only: Shell pattern of run names, ENTRY/GAME/seedK; includes their teachers.

    Raises:
        UserError: the suite is invalid, the folder belongs to another suite or is in use, or no run
            matches.
    """
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs is {jobs}; use 1 or more")
    suite, text = read_suite(path)
    folder = BenchFolder(out.absolute())
    plan = plan_suite(suite, folder)
    runs = _chosen(plan, only)
    make_folder(folder)
    with locked(folder.path / LOCK):
        keep_suite(folder, plan, text)
        _check_all(runs)
        failures = _execute(runs, folder, jobs or len(os.sched_getaffinity(0)), stop)
        try:
            # Results of the whole suite, even if only a part was requested.
            write_results(folder.results, collect(plan))
        except (UserError, OSError) as error:
            failures["results"] = str(error)
    finished = sum(run.is_finished for run in runs)
    return SessionResult(failures=failures, finished=finished, asked=len(runs))


def _chosen(plan: Sequence[PlannedRun], only: str) -> list[PlannedRun]:
    """The matching students' runs, after their teachers'."""
    # "qdagger" means everything below, like a folder's name.
    patterns = (only, f"{only.rstrip('/')}/*")
    students = [
        run
        for run in plan
        if run.export is None
        and any(fnmatch.fnmatchcase(run.name, pattern) for pattern in patterns)
    ]
    if not students:
        raise UserError(
            f"no run matches --only {only!r}; names are like {plan[-1].name}, and * matches "
            "anything"
        )
    needed = {run.needs for run in students}
    return [run for run in plan if run.export is not None and run.export in needed] + students


def _check_all(runs: list[PlannedRun]) -> None:
    """Resolve every run before the first starts, without teachers still to be trained.

    Raises:
        UserError: the settings of a run do not fit together; the message names it.
    """
    cards: dict[str, TeacherCard] = {}
    # Runs that only differ in their seeds need one check.
    unfinished = {(run.entry, run.game): run for run in runs if not run.is_finished}
    for run in unfinished.values():
        with user_errors((UserError, ValueError), prefix=f"{run.name}: "):
            card = cards.get(run.game) if run.needs is not None else None
            experiment = resolve(run.config, card)
            if run.export is not None:
                cards[run.game] = _untrained_card(experiment)


def _untrained_card(experiment: Experiment) -> TeacherCard:
    """The card, without a score, of a teacher that is still to be trained.

    Raises:
        ValueError: its network does not fit its environment.
    """
    spec, config = experiment.spec, experiment.config.network
    network = make_network(config, spec.num_actions)
    # Shapes only: nothing is compiled or drawn.
    jax.eval_shape(lambda: initial_params(network, jax.random.key(0), spec.observation_shape))
    return TeacherCard(
        name="untrained",
        game=spec.name,
        network=config,
        num_actions=spec.num_actions,
        observation_shape=spec.observation_shape,
        observation_dtype=spec.frame_dtype,
        made="not trained yet",
        parameters_sha256="0" * 64,
    )


def _execute(
    runs: list[PlannedRun], folder: BenchFolder, jobs: int, stop: threading.Event
) -> dict[str, str]:
    """Execute unfinished runs; returns which failed, and why."""
    tidy_compiled_functions()
    unfinished = [run for run in runs if not run.is_finished]
    jobs = min(jobs, max(1, len(unfinished)))
    display = BenchDisplay(unfinished, len(runs) - len(unfinished))
    schedule = Schedule(unfinished, Workers(folder, jobs, stop).execute, display)
    with display.bars:
        schedule.run(jobs, stop)
    return schedule.failures
