"""The learner: samples, updates, publishes weights, and takes a run through its phases.

    replay ── batches ──▶ update_step ── weights ──▶ Offer ──▶ actors, evaluator
                              │ commit                            │ returns
                              ▼                                   ▼
                        RUN/checkpoints ◀──── RunClock ◀── take_evaluation

One thread trains; gRPC threads read weights and hand in evaluations, and meet it only in `RunClock`
and `Offer`. A commit is made between two updates, so weights, clocks and replay are of one moment.
"""

from __future__ import annotations

import logging
import math
import threading
import time

import jax
import numpy as np

from protos.rrl.learner.v1 import learner_pb2
from rrl_agents.checkpoints.load_teacher import load_teacher
from rrl_agents.networks.registry import initial_params, make_network
from rrl_agents.reincarnation.registry import make_recipe
from rrl_agents.training.train_state import (
    TrainState,
    fresh_optimiser,
    initial_train_state,
    sync_target,
)
from rrl_agents.training.update_step import UpdateMetrics, make_update_step
from rrl_agents.types import Params, Progress, Stage
from services.learner.checkpointing import (
    RunRecord,
    newest_commit,
    restore_state,
    write_commit,
)
from services.learner.codec import EvaluationReport, progress_to_proto
from services.learner.config import InitialCheckpoint, LearnerConfig
from services.learner.evaluation_desk import EvaluationDesk
from services.learner.metrics_log import MetricsLog
from services.learner.run_clock import RunClock
from services.learner.stages import next_stage
from services.learner.weight_server import WeightServer
from services.learner.weight_store import Offer, Snapshot
from services.replay.checkpoint import checkpoint_replay, link_checkpoint
from services.replay.item_layout import ItemLayout
from services.replay.reader import (
    STUDENT_TABLE,
    TEACHER_TABLE,
    ReplayReader,
    ReplayTimeout,
    table_counts,
)
from services.shared.errors import UserError
from services.shared.locks import LEARNER_LOCK, locked

_COUNT_PERIOD_SECONDS = 1.0
_COLLECT_COUNT_PERIOD_SECONDS = 0.05
"""Nothing else is done while the teacher fills its table, and it had better not overfill it."""
_SAMPLE_TIMEOUT_SECONDS = 1.0
_IDLE_SECONDS = 0.2
_PAUSE_SECONDS = 0.01
_REPLAY_STARTUP_SECONDS = 300.0
_FAREWELL_SECONDS = 10.0
"""How long a finished learner still answers, so that everybody hears that it is over."""
_LOCK_WAIT_SECONDS = 30.0
_REPLAY_LOST = (
    "start the replay server and then the learner again, so that both go on from one checkpoint"
)


class Learner:
    """Trains one run to its end.

    Args:
        config: Method, data, targets and peers.
    """

    def __init__(self, config: LearnerConfig) -> None:
        self._config = config
        self._log = logging.getLogger(__name__)
        self._recipe = make_recipe(config.method)
        network = make_network(config.network, config.spec.num_actions)
        self._update = make_update_step(
            network, self._recipe.terms, self._recipe.q_learning.optimiser, config.student
        )
        # One key draws the weights, another what updates draw: noise, shifts, quantile levels.
        weights_key, self._update_key = jax.random.split(jax.random.key(config.seed))
        params = initial_params(network, weights_key, config.spec.observation_shape)
        self._state: TrainState = initial_train_state(params, self._recipe.q_learning.optimiser)
        self._clock = RunClock(
            Progress(random_return=config.random_return, teacher_return=config.teacher_return),
            self._recipe.weaning_weight,
        )
        self._restore()
        self.acting = Offer()
        self._desk = EvaluationDesk(config.run, self._clock)
        self.evaluation = self._desk.offer
        self._reader = ReplayReader(
            config.replay_address,
            ItemLayout(
                frame_shape=config.spec.frame_shape,
                stack_size=config.spec.stack_size,
                n_step=self._recipe.q_learning.n_step,
                num_actions=config.spec.num_actions,
                frame_dtype=config.spec.frame_dtype,
            ),
            self._recipe.q_learning.discount,
            self._recipe.q_learning.batch_size,
            seed=config.seed,
            importance_exponent=config.student.importance_exponent
            if config.student.priority_exponent > 0.0
            else 0.0,
        )
        self._metrics = MetricsLog(
            config.run / "metrics",
            period_updates=config.log_period_updates,
            resumed_at=self.progress.learner_updates or None,
        )
        self._server = WeightServer(self, host=config.host, port=config.port)
        self._counted_at = self._committed_at = -math.inf
        self._committed_progress: Progress | None = None

    @property
    def progress(self) -> Progress:
        """Where the run stands."""
        return self._clock.progress

    def run(self, stop: threading.Event) -> None:
        """Train until the run is finished or `stop` is set; commit before leaving.

        Raises:
            UserError: another learner works on this run, or replay is another experiment's or
                gone, or the teacher turned out to be as good as chance.
            FloatingPointError: a loss or a weight is not finite; the last commit is from before.
        """
        with locked(self._config.run / LEARNER_LOCK, wait_seconds=_LOCK_WAIT_SECONDS):
            try:
                self._check_nobody_went_on()
                self._server.start()
                if self._replay_is_there(stop):
                    self._train_until(stop)
                    if self.progress != self._committed_progress:
                        self.commit()
            finally:
                self._reader.close()
                self._metrics.close()
            if self.progress.stage is Stage.FINISHED:
                self._log.info("finished after %d updates", self.progress.learner_updates)
                stop.wait(_FAREWELL_SECONDS)
            self._server.stop()

    def _train_until(self, stop: threading.Event) -> None:
        self._publish()
        self._committed_at = time.monotonic()
        if not self._advance_stage() and self.progress.learner_updates > 0:
            # An evaluation that was under way when the last session ended is lost.
            self._desk.ask_for(self._snapshot())
        while not stop.is_set() and self.progress.stage is not Stage.FINISHED:
            self.step(stop)

    def step(self, stop: threading.Event) -> None:
        """One update, or one look at whether there is something to do; commits when it is time."""
        self._count()
        self._advance_stage()
        if self._config.pause_for_evaluation and self._desk.is_waiting:
            stop.wait(_PAUSE_SECONDS)
        elif self.progress.stage in (Stage.OFFLINE, Stage.ONLINE):
            self._train()
        else:
            collecting = self.progress.stage is Stage.COLLECT
            stop.wait(_COLLECT_COUNT_PERIOD_SECONDS if collecting else _IDLE_SECONDS)
        if time.monotonic() - self._committed_at >= self._config.checkpoint_period_seconds:
            self.commit()

    def commit(self) -> None:
        """Write weights, optimiser, clocks and replay as one commit.

        A commit that fails is logged and costs nothing: the one before stays.

        Raises:
            FloatingPointError: the weights are not finite; the commit before stays, too.
        """
        started = time.monotonic()
        self._check_weights_are_finite()
        try:
            # Actors go on meanwhile: the clocks of a commit are those of its replay but for what
            # comes in between these two lines.
            self._count_now()
            working = checkpoint_replay(self._config.replay_address)
            commit = write_commit(
                self._config.run,
                self._state,
                RunRecord(progress=self.progress, seconds=self._clock.seconds),
                link_replay=lambda folder: link_checkpoint(working, folder),
            )
        except (OSError, RuntimeError, ReplayTimeout) as error:
            self._log.error("no checkpoint written: %s", error)
        else:
            self._committed_progress = commit.record.progress
            self._log.info("%s written in %.1f s", commit.path, time.monotonic() - started)
        self._committed_at = time.monotonic()

    def _check_weights_are_finite(self) -> None:
        # Losses are looked at once per stretch of updates: a commit may come before that.
        params = jax.device_get(self._state.params)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
            raise FloatingPointError(
                f"the weights are not finite after {self.progress.learner_updates} updates: start "
                "another run with a lower learning rate"
            )

    def report_progress(self) -> learner_pb2.GetProgressResponse:
        """Progress with targets, rates and losses."""
        targets = self._config.targets
        return learner_pb2.GetProgressResponse(
            progress=progress_to_proto(self.progress),
            teacher_steps_target=targets.teacher_steps,
            offline_updates_target=targets.offline_updates,
            actor_steps_target=self._recipe.q_learning.min_replay_size
            + targets.online_updates * self._recipe.q_learning.update_period,
            updates_per_second=self._metrics.updates_per_second,
            losses=self._metrics.losses,
            seconds=self._clock.seconds,
        )

    def take_evaluation(self, report: EvaluationReport) -> Progress:
        """Take returns in: progress, weaning, and a line in the run's records.

        Raises:
            UnknownWeights: they are of weights that were not due in this session.
        """
        return self._desk.take(report)

    def _check_nobody_went_on(self) -> None:
        """Refuse to go on from an older commit than the run's newest.

        Raises:
            UserError: another learner committed between our reading the run and having its lock.
        """
        newest = newest_commit(self._config.run)
        if (newest.path if newest is not None else None) != self._restored_from:
            raise UserError(
                f"another learner worked on {self._config.run} meanwhile: start again to go on "
                "from where it stopped"
            )

    def _restore(self) -> None:
        commit = newest_commit(self._config.run)
        self._restored_from = commit.path if commit is not None else None
        if commit is None:
            self._begin_with(self._config.initial_checkpoint)
            return
        self._state = restore_state(commit, self._state)
        self._clock.restore(commit.record.progress, commit.record.seconds)
        self._log.info(
            "going on from %s: %s, %d updates",
            commit.path,
            self.progress.stage.name,
            self.progress.learner_updates,
        )

    def _begin_with(self, checkpoint: InitialCheckpoint | None) -> None:
        """Take an agent's parameters as the student's first ones.

        Raises:
            UserError: they cannot be read, or are another architecture's.
        """
        if checkpoint is None:
            return
        try:
            params: Params = load_teacher(
                checkpoint.path, checkpoint.number, checkpoint.game, checkpoint.hints
            ).params
        except (ValueError, OSError) as error:
            raise UserError(str(error)) from error
        if jax.tree.map(np.shape, params) != jax.tree.map(np.shape, self._state.params):
            raise UserError(
                f"the parameters in {checkpoint.path} are not of the student's architecture: give "
                "the student that agent's network"
            )
        self._state = initial_train_state(params, self._recipe.q_learning.optimiser)

    def _replay_is_there(self, stop: threading.Event) -> bool:
        """Wait for the replay server; False when stopped meanwhile.

        Raises:
            UserError: it does not come.
        """
        end = time.monotonic() + _REPLAY_STARTUP_SECONDS
        while not stop.is_set():
            try:
                table_counts(self._config.replay_address, timeout_seconds=1.0)
                return True
            except ReplayTimeout as error:
                if time.monotonic() > end:
                    raise UserError(f"{error}; is the replay server running?") from error
        return False

    def _count(self) -> None:
        """Read the data clocks off replay, which counts each item once."""
        collecting = self.progress.stage is Stage.COLLECT
        period = _COLLECT_COUNT_PERIOD_SECONDS if collecting else _COUNT_PERIOD_SECONDS
        if time.monotonic() - self._counted_at < period:
            return
        try:
            self._count_now()
        except ReplayTimeout as error:
            raise UserError(f"{error}; {_REPLAY_LOST}") from error

    def _count_now(self) -> None:
        counts = table_counts(self._config.replay_address)
        teacher_steps = counts[TEACHER_TABLE].inserted
        actor_steps = counts[STUDENT_TABLE].inserted
        if self._recipe.reloads_data:
            # The student's table begins with the recorded data.
            reloaded = min(actor_steps, self._config.targets.teacher_steps)
            teacher_steps, actor_steps = reloaded, actor_steps - reloaded
        self._clock.count(teacher_steps=teacher_steps, actor_steps=actor_steps)
        self._counted_at = time.monotonic()

    def _advance_stage(self) -> bool:
        """Enter the phase that the clocks ask for; returns whether that is a new one."""
        stage = next_stage(
            self.progress,
            self._config.targets,
            last_evaluation_done=self._desk.final_is_done,
        )
        if stage is self.progress.stage:
            return False
        self._check_scale()
        self._log.info("%s is over: %s", self.progress.stage.name, stage.name)
        if stage is Stage.ONLINE and self._recipe.syncs_target_before_online:
            self._state = sync_target(self._state)
        if stage is Stage.ONLINE and self._recipe.fresh_optimiser_online:
            self._state = fresh_optimiser(self._state, self._recipe.q_learning.optimiser)
        self._clock.enter(stage)
        # What a phase has brought is worth keeping at once.
        self._committed_at = -math.inf
        self._publish()
        if stage in (Stage.ONLINE, Stage.FINAL_EVALUATION):
            self._desk.ask_for(self._snapshot())
        return True

    def _check_scale(self) -> None:
        """Refuse a measured teacher no better than chance: scores would have no meaning.

        Raises:
            UserError: the teacher's return is not above the random policy's.
        """
        progress = self.progress
        if (
            progress.teacher_return is not None
            and progress.teacher_return <= progress.random_return
        ):
            raise UserError(
                f"the teacher returns {progress.teacher_return}, no more than the random policy's "
                f"{progress.random_return}: there is no scale to measure a student on; choose "
                "another teacher and another run"
            )

    def _train(self) -> None:
        """One update, if replay gives a batch soon enough."""
        before = self.progress
        try:
            sample = self._reader.sample_mixed(
                self._recipe.teacher_share(before), _SAMPLE_TIMEOUT_SECONDS
            )
        except ReplayTimeout:
            return
        except RuntimeError as error:
            raise UserError(f"{error}; {_REPLAY_LOST}") from error
        weights = self._recipe.term_weights(before)
        learning_rate = self._recipe.learning_rate(before)
        self._state, metrics = self._update(
            self._state,
            sample.batch,
            {name: np.float32(weight) for name, weight in weights.items()},
            np.float32(learning_rate),
            np.int32(self._recipe.target_update_period(before.stage)),
            self._update_key,
        )
        self._clock.count_update()
        if self._config.student.priority_exponent > 0.0 and before.stage is Stage.ONLINE:
            # A transition's TD loss says how soon it is seen again (Schaul et al., 2016).
            self._reader.update_priorities(sample, metrics.priorities)
        self._after_update(metrics, answered=float(np.mean(sample.batch.has_teacher)))

    def _after_update(self, metrics: UpdateMetrics, *, answered: float) -> None:
        progress = self.progress
        self._metrics.add(
            progress,
            metrics,
            answered=answered,
            learning_rate=self._recipe.learning_rate(progress),
        )
        if progress.learner_updates % self._config.publish_period_updates == 0:
            self._publish()
        if self._evaluation_is_due(progress):
            self._desk.ask_for(self._snapshot())

    def _evaluation_is_due(self, progress: Progress) -> bool:
        """Whether a period of the phase is complete; its end is evaluated when the next begins."""
        if progress.stage is Stage.OFFLINE:
            done, target = progress.offline_updates, self._config.targets.offline_updates
            period = self._config.offline_evaluation_period
        else:
            done, target = progress.online_updates, self._config.targets.online_updates
            period = self._config.online_evaluation_period
        return done % period == 0 and done < target

    def _publish(self) -> None:
        self._clock.note_priorities(self._reader.largest_priority)
        self.acting.publish(self._snapshot())
        self._clock.publish(self.acting_version)

    @property
    def acting_version(self) -> int:
        """Version of the present weights: 1 before the first update."""
        return self.progress.learner_updates + 1

    def _snapshot(self) -> Snapshot:
        # The state's buffers are given away to the next update: this is the copy that stays.
        return Snapshot(
            version=self.acting_version,
            params=jax.device_get(self._state.params),
            progress=self.progress,
            final=self.progress.stage is Stage.FINAL_EVALUATION,
        )


def build_learner(config: LearnerConfig) -> Learner:
    """The learner of a run, restored from its newest commit if there is one."""
    return Learner(config)
