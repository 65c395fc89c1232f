"""The learner: samples, updates, publishes weights, and takes a run through its stages.

          Feed ── blocks ───▶ Training ── weights ──▶ WeightPublisher ──▶ actors, evaluator
                                 │ state                                       │ returns
                                 ▼                                             ▼
                          RunCheckpoints ◀──── RunClock ◀─────────── PendingEvaluations

One thread trains. gRPC threads read weights and report evaluations through `ServedRun`; they share
`RunClock`, `PendingEvaluations` and `PublishedWeights` with it. A checkpoint is saved between two
blocks of updates, so that weights, clocks, pending evaluations and replay are of one moment.

If replay is unreachable, the learner waits. If replay restarted with other tables, both resume from
the newest checkpoint (`replay_checkpoints`).
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection
from pathlib import Path

from prometheus_client import CollectorRegistry

from rrl_agents.reincarnation.registry import make_recipe
from rrl_agents.types import Progress, Stage
from services.learner.checkpoint_records import newest_checkpoint
from services.learner.checkpointing import restore_due
from services.learner.config import LearnerConfig
from services.learner.feed import MakeFeed, ReplayLost, ReplayUnreachable
from services.learner.metrics import LearnerMetrics, ShownRun
from services.learner.metrics_log import MetricsLog
from services.learner.pending_evaluations import PendingEvaluations
from services.learner.publishing import WeightPublisher
from services.learner.run_checkpoints import RunCheckpoints
from services.learner.run_clock import RunClock
from services.learner.run_stages import RunStages
from services.learner.served_run import ServedRun
from services.learner.training import Training
from services.learner.weight_server import weight_server
from services.replay.failures import TablesUnusable
from services.shared.errors import UserError
from services.shared.locks import LEARNER_LOCK, locked
from services.tracking.run_tracking import RunTracking

COUNT_PERIOD_SECONDS = 1.0
"""Time between two counts of replay's steps, and checks that its tables are still the same."""
_COLLECT_COUNT_PERIOD_SECONDS = 0.05
"""Shorter, so that the teacher does not overfill its table; the learner has nothing else to do."""
_IDLE_SECONDS = 0.2
_PAUSE_SECONDS = 0.01
_LOCK_WAIT_SECONDS = 30.0
_RETRY_SECONDS = 5.0
"""Time between two attempts to save a checkpoint that the run needs."""


class Learner:
    """Trains one run to its end.

    Args:
        config: Settings of the learner.
        make_feed: Makes the learner's replay.
        unusable: Numbers of checkpoints to skip, because replay cannot load their tables.
        metrics: The process's metrics; None if they are not served.

    Attributes:
        training: State and updates.
        evaluations: Weights that are due for evaluation, and their results.
        served: The run as the gRPC server shows it.

    Raises:
        UserError: no checkpoint of the run is usable, its initial teacher or its records cannot be
            read, or a tracker's library is not installed.
    """

    def __init__(
        self,
        config: LearnerConfig,
        make_feed: MakeFeed,
        unusable: Collection[int] = (),
        metrics: LearnerMetrics | None = None,
    ) -> None:
        self._config = config
        self._metrics = metrics or LearnerMetrics(CollectorRegistry())
        self._recipe = make_recipe(config.method)
        self._clock = RunClock(
            Progress(random_return=config.random_return, teacher_return=config.teacher_return),
            self._recipe.weaning_weight,
        )
        self.training = Training(config, self._recipe)
        self._checkpoints = RunCheckpoints(config.run, unusable, self._metrics)
        self.evaluations = self._restore()
        self._stages = RunStages(config, self._clock)
        self._feed = make_feed(config, self._recipe, self._clock, self._metrics)
        self._publisher = WeightPublisher(self._clock, self.training, self._feed, self.evaluations)
        self._curves = MetricsLog(
            RunTracking(
                config.track, config.run, resumed_step=self.progress.learner_updates or None
            ),
            period_updates=config.log_period_updates,
        )
        self.served = ServedRun(
            config.targets,
            self._recipe,
            self._clock,
            acting=self._publisher.acting,
            evaluations=self.evaluations,
            checkpoints=self._checkpoints,
            curves=self._curves,
            pauses=config.pause_for_evaluation,
            episode_steps=config.episode_steps,
        )
        self._server = weight_server(
            self.served, host=config.host, port=config.port, security=config.security
        )
        self._save_at = 0.0
        self._metrics.attach(
            ShownRun(
                clock=self._clock,
                log=self._curves,
                targets=config.targets,
                actor_steps_target=self.served.actor_steps_target,
                frames_per_step=config.spec.frames_per_step,
                awaits_evaluation=lambda: bool(self.served.awaited),
            )
        )

    def _restore(self) -> PendingEvaluations:
        """Load the checkpoint to resume from, if any; returns its pending evaluations."""
        checkpoint, session = self._checkpoints.restored, uuid.uuid4().hex
        if checkpoint is None:
            self.training.load_initial_agent()
            return PendingEvaluations(self._config.run, self._clock, session)
        record = checkpoint.record
        self.training.restore(checkpoint)
        self._clock.restore(record.progress, record.seconds)
        logging.getLogger(__name__).info(
            "resuming from %s: %s, %d updates",
            checkpoint.path,
            self.progress.stage.name,
            self.progress.learner_updates,
        )
        evaluations = PendingEvaluations(self._config.run, self._clock, session)
        evaluations.resume(restore_due(checkpoint), record.evaluation_lines)
        return evaluations

    @property
    def progress(self) -> Progress:
        """Clocks and returns of the run."""
        return self._clock.progress

    @property
    def next_updates(self) -> range:
        """The updates of the next block; empty at the end of a stage."""
        return self._stages.next_block(self.progress)

    @property
    def is_finished(self) -> bool:
        """Whether the run is finished and its end is saved in a checkpoint."""
        saved = self._checkpoints.saved
        return saved is not None and saved.stage is Stage.FINISHED

    @property
    def checkpoint_number(self) -> int:
        """Number of the newest checkpoint; 0 if there is none."""
        return self._checkpoints.number

    def run(self, stop: threading.Event, before_step: Callable[[], None] = lambda: None) -> None:
        """Train until the run is finished or `stop` is set; save a checkpoint before leaving.

        Args:
            stop: Ends the run early.
            before_step: Called before each step. If all roles share this thread, it plays the steps
                that the update needs.

        Raises:
            ReplayLost: replay restarted with other tables, or data of the teacher was lost in
                transit. `train_to_the_end` then makes another learner, which resumes from the
                newest checkpoint.
            TablesUnusable: replay cannot load the tables of the checkpoint; `train_to_the_end` then
                tries an older one.
            UserError: another learner works on this run; replay belongs to another experiment; the
                teacher is no better than random play; or the last checkpoint cannot be saved.
            FloatingPointError: a loss or a weight is not finite; the newest checkpoint is older
                than that.
        """
        with (
            contextlib.closing(self),
            locked(self._config.run / LEARNER_LOCK, wait_seconds=_LOCK_WAIT_SECONDS),
            # Close before the lock is released: the next learner needs the port.
            contextlib.closing(self),
        ):
            self._checkpoints.check_is_newest()
            self._server.start()
            if self.restore_replay(stop):
                self._train_until(stop, before_step)
                self.save_end(stop)
            if self.progress.stage is Stage.FINISHED:
                logging.getLogger(__name__).info(
                    "finished after %d updates", self.progress.learner_updates
                )
                stop.wait(self._config.linger_seconds)

    def close(self) -> None:
        """Release threads, connections and files, as `run` does; a second call does nothing."""
        self._feed.close()
        self._curves.close()
        self._server.stop()

    def restore_replay(self, stop: threading.Event) -> bool:
        """Have replay serve the tables of the newest checkpoint; False if `stop` was set first.

        Raises:
            TablesUnusable: a shard has no such tables, or cannot load them.
        """
        return self._feed.restore(self.checkpoint_number, stop)

    def _train_until(self, stop: threading.Event, before_step: Callable[[], None]) -> None:
        self._publisher.publish()
        self._save_at = time.monotonic() + self._config.checkpoint_period_seconds
        self._advance_stage()
        while not stop.is_set() and self.progress.stage is not Stage.FINISHED:
            before_step()
            self.step(stop)

    def save_end(self, stop: threading.Event) -> None:
        """Save a checkpoint of the present progress; for a finished run, retry until it is saved.

        Raises:
            UserError: the checkpoint could not be saved before `stop` was set.
        """
        while self.progress != self._checkpoints.saved:
            self.save_checkpoint()
            if not self._checkpoints.failure:
                return
            if self.progress.stage is not Stage.FINISHED or stop.wait(_RETRY_SECONDS):
                raise UserError(self._checkpoints.loss_without(self.progress))

    def step(self, stop: threading.Event) -> None:
        """Make one block of updates, or one check for work; saves a checkpoint if one is due.

        If replay is unreachable, waits until it answers or `stop` is set.

        Raises:
            ReplayLost: replay restarted with other tables, or data of the teacher was lost in
                transit.
        """
        try:
            self._step(stop)
        except ReplayUnreachable as error:
            self._feed.wait_until_reachable(error, stop)

    def _step(self, stop: threading.Event) -> None:
        collecting = self.progress.stage is Stage.COLLECT
        self._feed.count_if_due(
            _COLLECT_COUNT_PERIOD_SECONDS if collecting else COUNT_PERIOD_SECONDS
        )
        self._advance_stage()
        stage = self.progress.stage
        if self._config.pause_for_evaluation and self.evaluations.is_pending:
            stop.wait(_PAUSE_SECONDS)
        elif stage in (Stage.OFFLINE, Stage.ONLINE):
            self._train(stop)
        else:
            stop.wait(_COLLECT_COUNT_PERIOD_SECONDS if stage is Stage.COLLECT else _IDLE_SECONDS)
        self.save_if_due()

    def save_if_due(self) -> None:
        """Save a checkpoint if the last attempt was a period ago, or a stage has just begun."""
        if time.monotonic() >= self._save_at:
            self.save_checkpoint()

    def save_checkpoint(self) -> None:
        """Save a checkpoint now, as `RunCheckpoints.save`."""
        self._checkpoints.save(self.training, self.evaluations, self._feed)
        self._save_at = time.monotonic() + self._config.checkpoint_period_seconds

    def _advance_stage(self) -> None:
        stage = self._stages.advance(last_evaluation_done=self.evaluations.final_is_done)
        if stage is None:
            return
        if stage is Stage.ONLINE:
            self.training.prepare_online_stage()
        # Save the work of the last stage at once.
        self._save_at = time.monotonic()
        self._publisher.publish()
        if stage in (Stage.ONLINE, Stage.FINAL_EVALUATION):
            self._publisher.request_evaluation()

    def _train(self, stop: threading.Event) -> None:
        """Make one block of updates, if replay gives its batches in time."""
        if self._feed.lacks_teacher_data:
            # Reading removes the data from replay; a learner that resumes from this checkpoint can
            # read it again.
            self.save_checkpoint()
            if self._checkpoints.failure:
                stop.wait(_RETRY_SECONDS)
                return
            self._feed.read_teacher_data()
        before = self.progress
        block = self._feed.take(self.next_updates)
        if block is None:
            return
        if updates := self._stages.next_block(before.after_updates(len(block.answered))):
            self._feed.fetch_ahead(updates)
        updates_made = len(block.answered)
        metrics = self.training.update(block.drawn.sample.batch, before, updates_made)
        progress = self._clock.count_updates(updates_made)
        if self._config.student.priority_exponent > 0.0 and before.stage is Stage.ONLINE:
            # A transition's TD loss decides how soon it is drawn again (Schaul et al., 2016).
            self._feed.update_priorities(block, metrics.priorities)
        self._curves.add(
            progress,
            metrics,
            answered=block.answered,
            learning_rate=self._recipe.learning_rate(progress),
        )
        period = self._config.publish_period_updates
        if progress.learner_updates // period > before.learner_updates // period:
            self._publisher.publish()
        if self._stages.evaluation_is_due(progress):
            self._publisher.request_evaluation()


def train_to_the_end(
    start: Callable[[Collection[int]], tuple[Learner, Callable[[], None]]],
    run: Path,
    stop: threading.Event,
    metrics: LearnerMetrics,
) -> None:
    """Train until the run is finished or `stop` is set; if replay loses its tables, resume.

    Args:
        start: Called with the numbers of checkpoints to skip; returns a learner of the run and a
            function that has it train, as `Learner.run` does.
        run: Folder of the run.
        stop: Ends the run early.
        metrics: Counts the losses of tables.

    Raises:
        UserError: as `Learner.run`; or replay has no tables for any of the run's checkpoints.
        FloatingPointError: as `Learner.run`.
    """
    log, unusable = logging.getLogger(__name__), set[int]()
    while True:
        learner, train = start(unusable)
        try:
            return train()
        except ReplayLost as error:
            if stop.is_set():
                log.warning("%s; all work since the newest checkpoint is lost", error)
                return
            log.warning("%s; going back to the newest checkpoint", error)
            metrics.replay_losses += 1
        except TablesUnusable as error:
            number = learner.checkpoint_number
            if newest_checkpoint(run, {*unusable, number}) is None:
                # A fresh start would delete the checkpoints.
                raise UserError(str(error)) from error
            log.error("%s; going back to an older checkpoint", error)
            unusable.add(number)
            metrics.replay_losses += 1
