"""A run in one thread: the roles take turns, and replay is in memory.

    COLLECT   the teacher plays into its table, or recorded data goes there
    OFFLINE   blocks of updates
    ONLINE    the students play until the replay ratio allows a block of updates, in turn
    and an evaluation is played when due, before the next update

Recipe, learner, policies, checkpoints and records are the same as with one process per role.
Results depend on the seed only, never on timing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

import jax
from prometheus_client import CollectorRegistry

from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.types import Stage
from services.actor.in_process import PlayerInProcess
from services.actor.metrics import ActorMetrics
from services.actor.weight_poller import ActorSnapshot
from services.evaluator.episodes import PlayedEpisodes
from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.playing import EvaluationPlayer
from services.launcher.experiment import Experiment
from services.launcher.jobs import (
    Job,
    actor_config,
    evaluator_config,
    importer_config,
    learner_config,
    replay_config,
)
from services.launcher.run_addresses import RunAddresses, write_addresses
from services.launcher.run_directory import is_finished, open_run
from services.launcher.served_teacher import ServedTeacher, TeacherLost
from services.launcher.shared_play import SharedPlay
from services.launcher.watching import Answer
from services.learner.codec import EvaluationReport
from services.learner.config import LearnerConfig
from services.learner.local_feed import LocalFeed
from services.learner.loop import Learner, train_to_the_end
from services.learner.metrics import LearnerMetrics
from services.learner.run_clock import RunClock
from services.recorded_data.in_process import import_in_process
from services.recorded_data.retrying_teacher import Stopped
from services.replay.local_tables import LocalTables
from services.replay.table_names import TEACHER_TABLE
from services.shared.addresses import parse_address
from services.shared.errors import UserError, user_errors
from services.shared.locks import LAUNCHER_LOCK, locked
from services.shared.logging import Occasionally
from services.teacher.in_process import TeacherInProcess

_REPORT_SECONDS = 0.1
_TURN_SECONDS = 10.0
"""Longest time that the teacher plays before the learner checks whether to save a checkpoint."""

OnProgress = Callable[[Answer], None]
"""Receives the learner's progress from time to time."""


def run_in_one_process(
    experiment: Experiment,
    run: Path,
    stop: threading.Event,
    on_progress: OnProgress = lambda answer: None,
) -> bool:
    """Start or resume a run, until it is finished or `stop` is set.

    Args:
        experiment: The experiment.
        run: Its folder; created if missing, resumed if it belongs to this experiment.
        stop: Ends the run early, after saving a checkpoint.
        on_progress: Called a few times a second, from the calling thread.

    Returns:
        Whether the run is finished.

    Raises:
        UserError: the folder belongs to another experiment or is in use; or the run cannot
            continue, because a loss or a weight is not finite or the teacher service is lost. The
            next call resumes from the last checkpoint.
    """
    open_run(run, experiment)
    with locked(run / LAUNCHER_LOCK):
        return run_opened(experiment, run, stop, on_progress)


def run_opened(
    experiment: Experiment,
    run: Path,
    stop: threading.Event,
    on_progress: OnProgress,
    *,
    addresses: RunAddresses | None = None,
    registry: CollectorRegistry | None = None,
) -> bool:
    """Like `run_in_one_process`, for an opened folder whose lock the caller holds.

    Args:
        experiment: The experiment.
        run: Its folder.
        stop: As there.
        on_progress: As there.
        addresses: Where to serve progress and metrics; the folder records them. None serves
            progress on a free port that is not recorded.
        registry: Registry of the metrics page; None for no metrics.

    Returns:
        As there.

    Raises:
        UserError: as there.
    """
    job = Job(
        experiment=experiment,
        run=run,
        teacher_address="",
        port=parse_address(addresses.services["learner"]).port if addresses is not None else 0,
        registry=registry or CollectorRegistry(),
    )
    if addresses is not None:
        write_addresses(run, addresses)
    shared = _Shared(job, stop, on_progress)

    def start(unusable: Collection[int]) -> tuple[Learner, Callable[[], None]]:
        turns = _Turns(shared, unusable)
        return turns.learner, turns.run

    with contextlib.closing(shared), user_errors((FloatingPointError,)):
        train_to_the_end(start, run, stop, shared.metrics)
    return is_finished(run)


class _Shared:
    """State that outlives a learner, which is rebuilt if the tables of a checkpoint are damaged.

    Args:
        job: Experiment, folder, port and registry.
        stop: Ends the run early.
        on_progress: As `run_in_one_process`.
    """

    def __init__(self, job: Job, stop: threading.Event, on_progress: OnProgress) -> None:
        experiment = job.experiment
        self.job, self.stop, self.on_progress = job, stop, on_progress
        self.metrics = LearnerMetrics(job.registry)
        self.actor_metrics = ActorMetrics(job.registry)
        self.evaluator_metrics = EvaluatorMetrics(job.registry)
        self.tables = LocalTables(replay_config(job), job.shard_folder / "checkpoints")
        self.teacher = _teacher(experiment, stop) if experiment.uses_teacher else None
        self.shared_play: SharedPlay | None = None
        if self.teacher is not None and experiment.config.teacher.play is not None:
            self.shared_play = SharedPlay(Path(experiment.config.teacher.play), experiment)
        self.evaluator = evaluator_config(job)
        self.evaluation = EvaluationPlayer(self.evaluator, self.evaluator_metrics)

    def close(self) -> None:
        """Close the connection to a teacher service, and let other runs play."""
        if self.shared_play is not None:
            self.shared_play.close()
        if isinstance(self.teacher, ServedTeacher):
            self.teacher.close()


def _teacher(
    experiment: Experiment, stop: threading.Event
) -> TeacherInProcess | ServedTeacher | None:
    """The run's teacher, computed in this process or by the named service."""
    choice = experiment.config.teacher
    if choice.address is not None:
        return ServedTeacher(choice.address, experiment.teacher_peers, stop=stop)
    return TeacherInProcess(choice.checkpoint) if choice.checkpoint is not None else None


class _Turns:
    """A learner, and the work of the other roles before each of its steps.

    Args:
        shared: The session's shared state.
        unusable: Checkpoints to skip.

    Attributes:
        learner: The learner.
    """

    def __init__(self, shared: _Shared, unusable: Collection[int]) -> None:
        self._shared = shared
        self._stop = shared.stop
        self._experiment = shared.job.experiment
        self._is_time_to_report = Occasionally(_REPORT_SECONDS)
        self._feed: LocalFeed
        self.learner = Learner(
            learner_config(shared.job), self._make_feed, unusable, shared.metrics
        )
        self._acting = (0, self.learner.training.params())
        teacher, actor = shared.teacher, actor_config(shared.job)
        self._player = PlayerInProcess(
            dataclasses.replace(
                actor, num_envs=actor.num_envs * self._experiment.config.num_actors
            ),
            shared.tables,
            self._experiment.layout,
            self._snapshot,
            teacher,
            teacher.described if teacher is not None else None,
            shared.actor_metrics,
        )

    def run(self) -> None:
        """Train until the run is finished or stopped; raises like `Learner.run`."""
        with contextlib.closing(self._player):
            self.learner.run(self._stop, self._take_turns_with_the_teacher)
            self._shared.on_progress(self.learner.served.report_progress())

    def _make_feed(
        self, config: LearnerConfig, recipe: Recipe, clock: RunClock, metrics: LearnerMetrics
    ) -> LocalFeed:
        self._feed = LocalFeed(
            self._shared.tables, self._experiment.layout, config, recipe, clock, metrics
        )
        return self._feed

    def _is_stopped(self) -> bool:
        """Whether to end; also reports the run's progress."""
        if self._is_time_to_report():
            self._feed.count()
            self._shared.on_progress(self.learner.served.report_progress())
        return self._stop.is_set()

    def _take_turns_with_the_teacher(self) -> None:
        """Like `_take_turns`, but saves a checkpoint if the teacher is lost.

        Raises:
            UserError: the teacher is lost; says what to do.
        """
        try:
            self._take_turns()
        except Stopped:
            # The learner checks `stop` itself, and saves its checkpoint.
            return
        except TeacherLost as error:
            self.learner.save_checkpoint()
            raise UserError(f"{error}; the same command resumes the run") from error

    def _take_turns(self) -> None:
        """Do everything that the learner's next step would wait for."""
        if self.learner.progress.teacher_return is None:
            self._evaluate_teacher()
        self._evaluate_students()
        stage = self.learner.progress.stage
        if stage is Stage.COLLECT:
            self._collect()
        elif stage is Stage.ONLINE:
            while self._feed.lacks_steps(self.learner.next_updates) and not self._is_stopped():
                self._player.step(stage)
                self._feed.count()
        else:
            self._is_stopped()

    def _collect(self) -> None:
        """Fill the teacher's table, pausing play at times so that a checkpoint can be saved."""
        wanted, end = self._experiment.targets.teacher_steps, time.monotonic() + _TURN_SECONDS
        self._feed.count()
        if self._experiment.data is not None and self.learner.progress.teacher_steps < wanted:
            self._import()
            return
        table = self._shared.tables.tables[TEACHER_TABLE]
        # A run that needs no steps of the teacher claims no table: it would hold it to its end.
        play = self._shared.shared_play if wanted > 0 else None
        # While another run plays, a run without steps of its own waits: the learner calls again.
        if play is not None and not play.claims_table() and table.inserted == 0:
            self._is_stopped()
            return
        if play is not None and table.inserted == 0 and play.take_table(table):
            self._feed.count()
        while (
            self.learner.progress.teacher_steps < wanted
            and time.monotonic() < end
            and not self._is_stopped()
        ):
            self._player.step(Stage.COLLECT)
            self._feed.count()
        if play is not None and table.is_complete:
            play.leave_table(table)

    def _import(self) -> None:
        config, teacher = importer_config(self._shared.job), self._shared.teacher
        assert teacher is not None, "a run with recorded data has a teacher to label it"
        import_in_process(
            config,
            self._shared.tables.tables[config.table],
            teacher.scores,
            teacher.described,
            is_stopped=self._is_stopped_once_saved,
        )

    def _is_stopped_once_saved(self) -> bool:
        """Like `_is_stopped`, but saves a checkpoint first if one is due.

        Imports are not interrupted for a checkpoint: to resume, they would unpack the data again.
        """
        self._feed.count()
        self.learner.save_if_due()
        return self._is_stopped()

    def _evaluate_teacher(self) -> None:
        teacher = self._shared.teacher
        assert teacher is not None, "a teacher whose return is unknown is one that can be played"
        play = self._shared.shared_play
        if play is not None and not play.claims_evaluation():
            # Another run plays it. The table may be filled before it is done.
            return
        played = play.evaluation() if play is not None else None
        if played is None:
            played = self._shared.evaluation.teacher(
                teacher.scores, teacher.described, self._is_stopped
            )
            if play is not None and played is not None:
                play.leave_evaluation(played)
        self._record(played, version=0)

    def _evaluate_students(self) -> None:
        """Evaluate all weights that are due."""
        evaluations = self.learner.evaluations
        while (due := evaluations.weights.newest) is not None and not self._stop.is_set():
            played = self._shared.evaluation.student(
                due.params, version=due.version, final=due.final, should_stop=self._is_stopped
            )
            self._record(played, version=due.version, session=due.sessions[-1])

    def _record(self, played: PlayedEpisodes | None, *, version: int, session: str = "") -> None:
        """Record the returns of an evaluation; a stopped one has none."""
        if played is None:
            return
        report = EvaluationReport(
            weights_version=version,
            episode_returns=played.returns,
            episode_steps=played.steps,
            episode_metrics=played.metrics,
            epsilon=self._shared.evaluator.protocol.epsilon,
            session=session,
        )
        self.learner.evaluations.record(report)
        self._shared.evaluator_metrics.evaluated(report)

    def _snapshot(self) -> ActorSnapshot:
        """The last published weights, on the device, and the current progress."""
        published = self.learner.served.acting.newest
        if published is not None and published.version != self._acting[0]:
            self._acting = (published.version, jax.device_put(published.params))
        version, params = self._acting
        return ActorSnapshot(
            progress=self.learner.progress, version=version, params=params, confirmed_at=0.0
        )
