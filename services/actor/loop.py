"""An actor: plays environments with the policy of the run's stage, into replay.

    learner ── weights, progress ──▶ WeightPoller ─▶ policy ─▶ Rollout ─▶ replay (Reverb)
    teacher ◀── states ── Annotator ◀──────────────────┘ ▲
       └──────── scores ─────────────────────────────────┘

COLLECT: the teacher acts, and its steps fill its own table; if recorded data fills that table, the
actor waits. ONLINE: the student acts, epsilon-greedily, and its steps go to its own table. As long
as the teacher's loss has a weight above 0, the teacher labels each state; in a method with a guide,
the teacher also takes some of the steps. In all other stages the actor waits.

TeacherError: COLLECT retries until the teacher answers; ONLINE stores the states without labels,
and the student takes the guide's steps. LearnerUnavailable: the actor acts with the weights it has.
ReplayTimeout: the actor reconnects.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time

import numpy as np
from prometheus_client import CollectorRegistry

from rrl_agents.behaviour.epsilon_greedy import make_policy
from rrl_agents.environments.registry import make_environment
from rrl_agents.networks.registry import make_network
from rrl_agents.reincarnation.registry import make_recipe
from rrl_agents.types import Stage
from rrl_client import (
    TeacherClient,
    TeacherDescription,
    TeacherError,
    TeacherRejected,
    TeacherUnavailable,
)
from services.actor.behaviours import Annotator, check_game
from services.actor.config import ActorConfig
from services.actor.metrics import ActorMetrics
from services.actor.rollout import Policy, Rollout, stretch_seeds
from services.actor.stage_policies import stage_policy
from services.actor.weight_poller import ActorSnapshot, WeightPoller
from services.learner.client import LearnerClient
from services.replay.connection import wait_for_tables
from services.replay.failures import ReplayTimeout, WriterStopped
from services.replay.item_layout import ItemLayout
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.replay.writer import ReplayWriter, WriterOptions
from services.shared.errors import UserError

_WAIT_SECONDS = 0.2
_FLUSH_SECONDS = 5.0
_CONNECT_SECONDS = 5.0
_STARTUP_SECONDS = 300.0


class Actor:
    """Plays until the run is finished or `stop` is set.

    Args:
        config: Settings of the actor.
        metrics: Counts steps and episodes; None if they are not served.
    """

    def __init__(self, config: ActorConfig, metrics: ActorMetrics | None = None) -> None:
        self._config = config
        self._metrics = metrics or ActorMetrics(CollectorRegistry())
        self._recipe = make_recipe(config.method)
        self._environment = make_environment(config.environment, config.num_envs)
        spec = self._environment.spec
        self._layout = ItemLayout(
            frame_shape=spec.frame_shape,
            stack_size=spec.stack_size,
            n_step=self._recipe.q_learning.n_step,
            num_actions=spec.num_actions,
            frame_dtype=spec.frame_dtype,
            clips_rewards=config.environment.clips_rewards,
        )
        self._teacher = (
            TeacherClient(
                config.teacher_address,
                timeout_seconds=config.teacher_timeout_seconds,
                security=config.teacher_peers,
            )
            if config.teacher_address is not None
            else None
        )
        self._described: TeacherDescription | None = None
        self._student = make_policy(make_network(config.network, spec.num_actions))
        self._learner = LearnerClient(config.learner_address, security=config.peers)
        self._poller: WeightPoller | None = None
        self._annotator = Annotator()
        self._metrics.attach(self._annotator, frames_per_step=spec.frames_per_step)

    def run(self, stop: threading.Event) -> None:
        """Play until the run is finished or `stop` is set.

        Raises:
            UserError: the teacher plays another game, or is needed and has no address.
        """
        try:
            if wait_for_tables(self._config.replay_address, stop, _STARTUP_SECONDS) is None:
                return
            self._poller = WeightPoller(
                self._learner, period_seconds=self._config.weights_period_seconds
            )
            self._metrics.poller = self._poller
            while not stop.is_set():
                stage = self._stage()
                if stage is Stage.ONLINE or (stage is Stage.COLLECT and self._config.teacher_plays):
                    self._play_or_retry(stage, stop)
                elif stage in (Stage.FINAL_EVALUATION, Stage.FINISHED):
                    return
                else:
                    stop.wait(_WAIT_SECONDS)
        finally:
            self._close()

    def _close(self) -> None:
        if self._poller is not None:
            self._poller.close()
            self._metrics.poller = None
        self._learner.close()
        if self._teacher is not None:
            self._teacher.close()
        self._environment.close()

    def _stage(self) -> Stage | None:
        latest = self._poller.latest if self._poller is not None else None
        return latest.progress.stage if latest is not None else None

    def _play_or_retry(self, stage: Stage, stop: threading.Event) -> None:
        try:
            self._play(stage, stop)
        except ReplayTimeout as error:
            logging.getLogger(__name__).warning("cannot write to replay: %s; retrying", error)
            stop.wait(_WAIT_SECONDS)

    def _play(self, stage: Stage, stop: threading.Event) -> None:
        """Play one stage to its end, and write the steps to its table."""

        def should_stop() -> bool:
            return stop.is_set() or self._stage() is not stage

        self._wait_for_teacher(stage, stop)
        if should_stop():
            return
        actions_seed, environments_seed = self._seeds()
        policy = self._policy_of(stage, np.random.default_rng(actions_seed))
        writer = ReplayWriter(
            self._config.replay_address,
            TEACHER_TABLE if stage is Stage.COLLECT else STUDENT_TABLE,
            self._layout,
            self._config.num_envs,
            should_stop=should_stop,
            priority=lambda: self._snapshot().progress.max_priority,
            on_wait=self._metrics.waited_to_insert,
            options=WriterOptions(connect_timeout_seconds=_CONNECT_SECONDS),
        )
        with contextlib.closing(writer):
            rollout = Rollout(
                self._environment,
                writer,
                self._annotator,
                seed=environments_seed,
                max_pending=self._config.max_pending_steps,
                on_steps=self._metrics.stepped,
                on_episode=self._metrics.finished_episode,
            )
            # The stage may end while a write waits for the rate limiter; nothing is left to write.
            with contextlib.suppress(WriterStopped):
                while not should_stop():
                    self._step(rollout, policy, stop)
                rollout.finish()
                writer.flush(_FLUSH_SECONDS)

    def _policy_of(self, stage: Stage, random: np.random.Generator) -> Policy:
        return stage_policy(
            stage,
            self._config,
            self._recipe,
            self._student,
            latest=self._snapshot,
            teacher=self._teacher,
            described=self._described,
            annotator=self._annotator,
            random=random,
        )

    def _step(self, rollout: Rollout, policy: Policy, stop: threading.Event) -> None:
        try:
            rollout.step(policy)
        except TeacherRejected as error:
            raise UserError(
                f"the teacher refuses this game's states: {error}; choose a teacher of this game"
            ) from error
        except TeacherError as error:
            # Raised only if the teacher acts; no environment was stepped, and nothing was stored.
            self._annotator.note_unanswered(error)
            logging.getLogger(__name__).warning("the teacher cannot act: %s; retrying", error)
            stop.wait(1.0)

    def _snapshot(self) -> ActorSnapshot:
        latest = self._poller.latest if self._poller is not None else None
        assert latest is not None, "acting starts after the first weights"
        return latest

    def _wait_for_teacher(self, stage: Stage, stop: threading.Event) -> None:
        """Wait for the teacher if the stage needs it; if not, the service may be scaled to 0.

        Raises:
            UserError: the teacher has no address, does not answer in time, plays another game, or
                the server there is not a teacher.
        """
        end = time.monotonic() + _STARTUP_SECONDS
        while (
            self._described is None
            and self._stage() is stage
            and self._is_asked(stage)
            and not stop.is_set()
        ):
            if self._teacher is None:
                player = "the teacher" if stage is Stage.COLLECT else "the student"
                raise UserError(
                    f"{self._recipe.name} queries its teacher while {player} plays: give "
                    "--teacher-address"
                )
            try:
                described = self._teacher.wait_until_ready(1.0)
            except TeacherUnavailable as error:
                if time.monotonic() > end:
                    raise UserError(str(error)) from error
                continue
            except TeacherError as error:
                raise UserError(str(error)) from error
            check_game(described, self._environment.spec)
            self._described = described

    def _is_asked(self, stage: Stage) -> bool:
        """Whether the method queries the teacher now."""
        progress, recipe = self._snapshot().progress, self._recipe
        return (
            stage is Stage.COLLECT
            or recipe.needs_teacher(progress)
            or recipe.teacher_acts(progress.actor_steps)
        )

    def _seeds(self) -> tuple[int, int]:
        """Seeds of the next stretch's actions and environments, from `stretch_seeds`."""
        return stretch_seeds(self._config.seed, self._config.index, self._snapshot().progress)


def build_actor(config: ActorConfig, metrics: ActorMetrics | None = None) -> Actor:
    """Make an actor; its `run` starts to play."""
    return Actor(config, metrics)
