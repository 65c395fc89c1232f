"""The learner: samples, updates, publishes weights, and takes a run through its phases.

    replay ── batches ──▶ update_step ── weights ──▶ Offer ──▶ actors, evaluator
                              │ commit                            │ returns
                              ▼                                   ▼
                        RUN/checkpoints ◀──── RunClock ◀── EvaluationDesk

One thread trains; gRPC threads read weights and hand in evaluations, and meet it only in
`RunClock`, `EvaluationDesk` and `Offer`. A commit is made between two updates, so weights, clocks,
evaluations that are due and replay are of one moment.
Replay that is out of reach is waited for. Where it came back with other tables, everything goes on
from the newest commit (`replay_tie`).
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
import uuid
from collections.abc import Collection

import jax
import numpy as np
from prometheus_client import CollectorRegistry

from protos.rrl.learner.v1 import learner_pb2
from rrl_agents.networks.registry import initial_params, make_network
from rrl_agents.reincarnation.registry import make_recipe
from rrl_agents.scores import check_scale
from rrl_agents.training.train_state import (
    TrainState,
    fresh_optimiser,
    initial_train_state,
    sync_target,
)
from rrl_agents.training.update_step import UpdateMetrics, make_update_step
from rrl_agents.types import Progress, Stage
from services.learner.checkpoint_records import Commit, newest_commit
from services.learner.checkpointing import (
    check_has_none,
    commits_to_fall_back_on,
    next_number,
    restore_state,
    write_commit,
)
from services.learner.codec import EvaluationReport, progress_to_proto
from services.learner.config import LearnerConfig, ShardAddress
from services.learner.due_evaluations import due_in, record_of
from services.learner.evaluation_desk import EvaluationDesk
from services.learner.evaluation_schedule import EvaluationSchedule
from services.learner.initial_params import params_of_agent
from services.learner.metrics import LearnerMetrics
from services.learner.metrics_log import MetricsLog
from services.learner.replay_counts import ReplayCounts
from services.learner.replay_tie import ReplayLost, ReplayTie
from services.learner.run_clock import RunClock
from services.learner.stages import next_stage
from services.learner.weight_server import WeightServer
from services.learner.weight_store import Offer, Snapshot
from services.replay.control_client import NotWritten, TablesUnusable
from services.replay.item_layout import ItemLayout
from services.replay.reader import (
    STUDENT_TABLE,
    TEACHER_TABLE,
    ReplayReader,
    ReplayTimeout,
    SamplingFailed,
    table_counts,
)
from services.replay.sharded_reader import ShardedReader
from services.shared.errors import UserError
from services.shared.locks import LEARNER_LOCK, locked

_COUNT_PERIOD_SECONDS = 1.0
_COLLECT_COUNT_PERIOD_SECONDS = 0.05
"""Nothing else is done while the teacher fills its table, and it had better not overfill it."""
_SAMPLE_TIMEOUT_SECONDS = 1.0
_IDLE_SECONDS = 0.2
_PAUSE_SECONDS = 0.01
_LOCK_WAIT_SECONDS = 30.0
_RETRY_SECONDS = 5.0
"""Time between two tries to write a finished run down."""
_SILENCE_SECONDS = 20.0
"""How long no batch comes before somebody looks why."""


class Learner:
    """Trains one run to its end.

    Args:
        config: Method, data, targets and peers.
        unusable: Commits not to go on from, since replay does not have their tables.
        telemetry: What it shows; None for nobody to see.
    """

    def __init__(
        self,
        config: LearnerConfig,
        unusable: Collection[int] = (),
        telemetry: LearnerMetrics | None = None,
    ) -> None:
        self._config = config
        self._telemetry = telemetry or LearnerMetrics(CollectorRegistry())
        self._unusable = frozenset(unusable)
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
        self._saved: Progress | None = None
        self.session = uuid.uuid4().hex
        self.acting = Offer()
        commit = self._restore()
        self._base_number = _number(commit)
        self._desk = EvaluationDesk(config.run, self._clock, self.session)
        self.evaluation = self._desk.offer
        if commit is not None:
            self._resume_evaluations(commit)
        self._evaluations = EvaluationSchedule(
            targets=config.targets,
            offline_period=config.offline_evaluation_period,
            online_period=config.online_evaluation_period,
        )
        self._counts = ReplayCounts(
            [shard.data for shard in config.replay],
            reloaded_steps=config.targets.teacher_steps if self._recipe.reloads_data else 0,
        )
        self._tie = ReplayTie([shard.control for shard in config.replay], config.peers)
        self._reader = ShardedReader([self._reader_of(shard) for shard in config.replay])
        self._metrics = MetricsLog(
            config.run / "metrics",
            period_updates=config.log_period_updates,
            resumed_at=self.progress.learner_updates or None,
        )
        self._server = WeightServer(
            self, host=config.host, port=config.port, security=config.security
        )
        self._counted_at = self._committed_at = -math.inf
        self._checkpoint_failure = ""
        self._telemetry.attach(
            self._clock,
            self._metrics,
            targets=config.targets,
            actor_steps_target=self._actor_steps_target,
            frames_per_step=config.spec.frames_per_step,
        )

    def _reader_of(self, shard: ShardAddress) -> ReplayReader:
        config, q_learning = self._config, self._recipe.q_learning
        layout = ItemLayout(
            frame_shape=config.spec.frame_shape,
            stack_size=config.spec.stack_size,
            n_step=q_learning.n_step,
            num_actions=config.spec.num_actions,
            # Writers clip; a reader takes rewards as they are.
            clips_rewards=False,
            frame_dtype=config.spec.frame_dtype,
        )
        return ReplayReader(
            shard.data,
            layout,
            q_learning.discount,
            q_learning.batch_size,
            seed=config.seed,
            importance_exponent=config.student.importance_exponent
            if config.student.priority_exponent > 0.0
            else 0.0,
        )

    @property
    def progress(self) -> Progress:
        """Where the run stands."""
        return self._clock.progress

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do, and a checkpoint holds the end."""
        return self._saved is not None and self._saved.stage is Stage.FINISHED

    @property
    def base_number(self) -> int:
        """Number of the commit that everything since stands on, 0 for none."""
        return self._base_number

    def run(self, stop: threading.Event) -> None:
        """Train until the run is finished or `stop` is set; commit before leaving.

        Raises:
            ReplayLost: replay came back with other tables: another learner of this run goes on from
                the newest commit (`run_learner` does that).
            TablesUnusable: replay does not have the tables of the commit that this one went on
                from (`run_learner` tries an older one).
            UserError: another learner works on this run, or replay is another experiment's or does
                not come, or the teacher turned out to be as good as chance.
            FloatingPointError: a loss or a weight is not finite; the last commit is from before.
        """
        with (
            contextlib.closing(self),
            locked(self._config.run / LEARNER_LOCK, wait_seconds=_LOCK_WAIT_SECONDS),
            # Before the lock is let go: the next one wants the port.
            contextlib.closing(self),
        ):
            self._check_nobody_went_on()
            self._server.start()
            if self._tie.join(self._base_number, stop):
                self._train_until(stop)
                self._commit_the_end(stop)
            if self.progress.stage is Stage.FINISHED:
                self._log.info("finished after %d updates", self.progress.learner_updates)
                stop.wait(self._config.farewell_seconds)

    def close(self) -> None:
        """Let go of threads, connections and files, as `run` does; a second call does nothing."""
        self._reader.close()
        self._metrics.close()
        self._server.stop()
        self._tie.close()

    def _train_until(self, stop: threading.Event) -> None:
        self._publish()
        self._committed_at = time.monotonic()
        self._advance_stage()
        if self.progress.stage is Stage.FINAL_EVALUATION and not (
            self._desk.final_is_done or self._desk.is_waiting
        ):
            # A checkpoint of a version that did not note what was due; a run ends with its last
            # evaluation.
            self._ask_for_evaluation()
        while not stop.is_set() and self.progress.stage is not Stage.FINISHED:
            self.step(stop)

    def _commit_the_end(self, stop: threading.Event) -> None:
        """Keep what was done; a finished run is not over before that, however full the disk is.

        Raises:
            UserError: it was stopped, and what it did last could not be kept.
        """
        while self.progress != self._saved:
            self.commit()
            if not self._checkpoint_failure:
                return
            if self.progress.stage is not Stage.FINISHED or stop.wait(_RETRY_SECONDS):
                raise UserError(_lost(self.progress, self._saved, self._checkpoint_failure))

    def step(self, stop: threading.Event) -> None:
        """One update, or one look at whether there is something to do; commits when it is time.

        Waits for replay that is out of reach, or until stopped.

        Raises:
            ReplayLost: it came back with other tables.
        """
        try:
            self._step(stop)
        except _ReplayAway as error:
            self._log.warning("replay is out of reach: %s", error)
            self._telemetry.waited_for_replay()
            # What was being fetched is of connections that may never speak again.
            self._reader.close()
            if self._tie.await_again(stop):
                self._log.info("replay is back as it was: nothing is lost")

    def _step(self, stop: threading.Event) -> None:
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
            ReplayLost: replay is not the one that was learned from any more.
        """
        started = time.monotonic()
        self._check_weights_are_finite()
        try:
            # Actors go on meanwhile: the clocks of a commit are those of its replay but for what
            # comes in between these lines.
            self._count_now()
            number = next_number(self._config.run, after=self._base_number)
            # Replay is through first: what it drops now, this run might still fall back on.
            fallbacks = commits_to_fall_back_on(self._config.run)
            self._tie.checkpoint(number, keep=sorted({*fallbacks, self._base_number}))
            note = self._desk.note()
            commit = write_commit(
                self._config.run,
                self._state,
                record_of(note),
                number,
                keep=[self._base_number],
                due={one.version: one.params for one in note.due},
            )
        except (OSError, NotWritten, ReplayTimeout) as error:
            self._log.error("no checkpoint written: %s", error)
            self._checkpoint_failure = str(error) or type(error).__name__
            self._telemetry.commit_failed()
        else:
            self._base_number = commit.number
            self._saved, self._checkpoint_failure = commit.record.progress, ""
            seconds = time.monotonic() - started
            self._log.info("%s written in %.1f s", commit.path, seconds)
            self._telemetry.committed(commit.number, seconds=seconds, written_at=time.time())
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
            actor_steps_target=self._actor_steps_target,
            updates_per_second=self._metrics.updates_per_second,
            losses=self._metrics.losses,
            seconds=self._clock.seconds,
            saved=None if self._saved is None else progress_to_proto(self._saved),
            checkpoint_failure=self._checkpoint_failure,
        )

    @property
    def _actor_steps_target(self) -> int:
        q_learning = self._recipe.q_learning
        learned_from = self._config.targets.online_updates * q_learning.update_period
        return q_learning.min_replay_size + learned_from

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
        newest = newest_commit(self._config.run, self._unusable)
        if _number(newest) != self._base_number:
            raise UserError(
                f"another learner worked on {self._config.run} meanwhile: start again to go on "
                "from where it stopped"
            )

    def _restore(self) -> Commit | None:
        """Take weights and clocks from the newest commit that is usable; None where none is there.

        Raises:
            UserError: there are commits, and none is usable; or the agent whose parameters the
                student begins with cannot be read, or is another architecture's.
        """
        commit = newest_commit(self._config.run, self._unusable)
        if commit is None:
            check_has_none(self._config.run)
            if (agent := self._config.initial_checkpoint) is not None:
                params = params_of_agent(agent, like=self._state.params)
                self._state = initial_train_state(params, self._recipe.q_learning.optimiser)
            return None
        self._state = restore_state(commit, self._state)
        self._clock.restore(commit.record.progress, commit.record.seconds)
        self._saved = commit.record.progress
        self._telemetry.restored(commit.number, commit.written_at)
        self._log.info(
            "going on from %s: %s, %d updates",
            commit.path,
            self.progress.stage.name,
            self.progress.learner_updates,
        )
        return commit

    def _resume_evaluations(self, commit: Commit) -> None:
        """Have the evaluations come back that had not when the commit was made, and no others.

        Raises:
            UserError: the weights or the records are damaged.
        """
        due = due_in(commit)
        if due is not None:
            self._desk.resume(due, commit.record.evaluation_lines)
        elif commit.record.progress.stage is Stage.FINAL_EVALUATION:
            self._desk.recall_final()

    def _count(self) -> None:
        """Read the data clocks off replay, which counts each item once."""
        collecting = self.progress.stage is Stage.COLLECT
        period = _COLLECT_COUNT_PERIOD_SECONDS if collecting else _COUNT_PERIOD_SECONDS
        if time.monotonic() - self._counted_at < period:
            return
        try:
            self._tie.check()
            self._count_now()
        except ReplayTimeout as error:
            raise _ReplayAway(str(error)) from error

    def _count_now(self) -> None:
        teacher_steps, actor_steps = self._counts.now()
        self._clock.count(teacher_steps=teacher_steps, actor_steps=actor_steps)
        self._counted_at = time.monotonic()

    def _advance_stage(self) -> None:
        """Enter the phase that the clocks ask for, if that is a new one."""
        stage = next_stage(
            self.progress,
            self._config.targets,
            last_evaluation_done=self._desk.final_is_done,
        )
        if stage is self.progress.stage:
            return
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
        if self._evaluations.is_due_on_entering(stage):
            self._ask_for_evaluation()

    def _check_scale(self) -> None:
        """Refuse a measured teacher no better than chance: scores would have no meaning.

        Raises:
            UserError: the teacher's return is not above the random policy's.
        """
        progress = self.progress
        if progress.teacher_return is None:
            return
        try:
            check_scale(progress.random_return, progress.teacher_return)
        except ValueError as error:
            raise UserError(f"{error}, in another run") from error

    def _train(self) -> None:
        """One update, if replay gives a batch soon enough."""
        before = self.progress
        self._look_after_silent_shards(self._recipe.teacher_share(before))
        began = time.monotonic()
        try:
            drawn = self._reader.sample_mixed(
                self._recipe.teacher_share(before), _SAMPLE_TIMEOUT_SECONDS
            )
        except ReplayTimeout:
            return
        except SamplingFailed as error:
            raise _ReplayAway(str(error)) from error
        finally:
            self._telemetry.sampled(time.monotonic() - began)
        batch = drawn.sample.batch
        weights = self._recipe.term_weights(before, self._config.network, self._config.student)
        learning_rate = self._recipe.learning_rate(before)
        self._state, metrics = self._update(
            self._state,
            batch,
            {name: np.float32(weight) for name, weight in weights.items()},
            np.float32(learning_rate),
            np.int32(self._recipe.target_update_period(before.stage)),
            self._update_key,
        )
        self._clock.count_update()
        if self._config.student.priority_exponent > 0.0 and before.stage is Stage.ONLINE:
            # A transition's TD loss says how soon it is seen again (Schaul et al., 2016).
            self._reader.update_priorities(drawn, metrics.priorities)
        self._after_update(metrics, answered=float(np.mean(batch.has_teacher)))

    def _look_after_silent_shards(self, teacher_share: float) -> None:
        """Connect anew where no batch comes although the rate limiters would give one.

        The connection is dead then and nobody said so, as when a firewall forgets it: Reverb asks
        for no sign of life.
        """
        shares = {TEACHER_TABLE: teacher_share, STUDENT_TABLE: 1.0 - teacher_share}
        for shard in self._reader.silent(_SILENCE_SECONDS):
            address = self._config.replay[shard].data
            try:
                counts = table_counts(address)
            except ReplayTimeout as error:
                raise _ReplayAway(str(error)) from error
            if all(counts[table].gives_samples for table, share in shares.items() if share > 0.0):
                self._log.warning(
                    "replay at %s gives no batch though nothing holds it back: connecting anew",
                    address,
                )
                self._reader.reconnect(shard)

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
        if self._evaluations.is_due(progress):
            self._ask_for_evaluation()

    def _ask_for_evaluation(self) -> None:
        """Have the present weights evaluated, under the clocks of this very moment."""
        with contextlib.suppress(ReplayTimeout):
            # What was last counted may be a second old. Where replay does not answer, it stands.
            self._count_now()
        self._desk.ask_for(self._snapshot())

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
            seconds=self._clock.seconds,
            sessions=(self.session,),
            final=self.progress.stage is Stage.FINAL_EVALUATION,
        )


class _ReplayAway(Exception):
    """Replay does not answer now."""


def build_learner(config: LearnerConfig) -> Learner:
    """The learner of a run, restored from its newest commit if there is one."""
    return Learner(config)


def run_learner(
    config: LearnerConfig, stop: threading.Event, telemetry: LearnerMetrics | None = None
) -> None:
    """Train a run until it is finished or `stop` is set, through any losses of its replay.

    Raises:
        UserError: as `Learner.run`; or replay has the tables of none of the run's commits.
        FloatingPointError: as `Learner.run`.
    """
    log, unusable = logging.getLogger(__name__), set[int]()
    telemetry = telemetry or LearnerMetrics(CollectorRegistry())
    while True:
        learner = Learner(config, unusable, telemetry)
        try:
            return learner.run(stop)
        except ReplayLost as error:
            if stop.is_set():
                log.warning("%s; what came after the newest checkpoint is lost", error)
                return
            log.warning("%s; going back to the newest checkpoint", error)
            telemetry.replay_lost()
        except TablesUnusable as error:
            if newest_commit(config.run, {*unusable, learner.base_number}) is None:
                # To begin anew would be to delete what there is.
                raise UserError(str(error)) from error
            log.error("%s; going back to an older checkpoint", error)
            unusable.add(learner.base_number)
            telemetry.replay_lost()


def _lost(progress: Progress, saved: Progress | None, failure: str) -> str:
    """What a checkpoint that cannot be written costs, in words."""
    kept = 0 if saved is None else saved.learner_updates
    return (
        f"updates {kept + 1} to {progress.learner_updates} are lost, since no checkpoint can be "
        f"written: {failure}; the newest checkpoint has {kept} updates"
    )


def _number(commit: Commit | None) -> int:
    return commit.number if commit is not None else 0
