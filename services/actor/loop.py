"""An actor: plays environments with the policy the stage of the run asks for, into replay.

    learner ── weights, progress ──▶ WeightPoller ─▶ policy ─▶ Play ─▶ replay (Reverb)
    teacher ◀── states ── Annotator ◀──────────────────┘ ▲
       └──────── action values ──────────────────────────┘

COLLECT: the teacher chooses, into its own table; where recorded data fills that table, the actor
waits. ONLINE: the student chooses, epsilon-greedily, into its table, and the teacher is asked about
each state for as long as its opinion counts; a method with a guide has the teacher choose some of
these steps. In between the actor waits. A teacher that is away
stops COLLECT until it is back (there is no play without it) and costs ONLINE nothing but labels; a
learner that is away costs nothing but news. A guide's step that the teacher does not answer is the
student's.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
import time

import jax
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from rrl_agents.behaviour.epsilon_greedy import make_policy
from rrl_agents.behaviour.guide import GuideTurns
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
from rrl_client.actions import teacher_actions
from services.actor.annotator import Annotator, Labels
from services.actor.config import ActorConfig
from services.actor.metrics import ActorMetrics
from services.actor.play import Play, Policy
from services.actor.weight_poller import ActingView, WeightPoller
from services.learner.weight_client import Purpose, WeightClient
from services.replay.connection import ReplayTimeout, table_counts
from services.replay.item_layout import ItemLayout
from services.replay.stalls import StalledInsertDetector
from services.replay.writer import (
    STUDENT_TABLE,
    TEACHER_TABLE,
    ReplayWriter,
    WriterOptions,
    WriterStopped,
)
from services.shared.counted_environment import CountedEnvironment
from services.shared.errors import UserError

_WAIT_SECONDS = 0.2
_FLUSH_SECONDS = 5.0
_CONNECT_SECONDS = 5.0
_STARTUP_SECONDS = 300.0

# Emulator seeds are int32, and the environments of one actor take consecutive ones.
_LARGEST_ENVIRONMENT_SEED = 2**31 - 2**16


class Actor:
    """Plays until the run is finished or it is told to stop.

    Args:
        config: Environments and peers.
        metrics: What it counts; None for nobody to see.
    """

    def __init__(self, config: ActorConfig, metrics: ActorMetrics | None = None) -> None:
        self._config = config
        self._metrics = metrics or ActorMetrics(CollectorRegistry())
        self._recipe = make_recipe(config.method)
        self._environment = CountedEnvironment(
            make_environment(config.environment, config.num_envs),
            self._metrics.stepped,
            self._metrics.finished_episode,
        )
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
                security=config.peers,
            )
            if config.teacher_address is not None
            else None
        )
        self._taught_by: TeacherDescription | None = None
        self._policy = make_policy(make_network(config.network, spec.num_actions))
        self._epsilon = self._recipe.exploration(noisy=config.network.noisy)
        self._random = np.random.default_rng(config.seed)
        self._learner = WeightClient(config.learner_address, Purpose.ACT, security=config.peers)
        self._poller: WeightPoller | None = None
        self._annotator = Annotator()
        self._metrics.attach(self._annotator, frames_per_step=spec.frames_per_step)
        self._turns: GuideTurns | None = None

    def run(self, stop: threading.Event) -> None:
        """Play until the run is finished or `stop` is set.

        Raises:
            UserError: the teacher plays another game, or is needed and nobody said where it is.
        """
        try:
            if not self._replay_is_there(stop):
                return
            self._poller = WeightPoller(
                self._learner, period_seconds=self._config.weights_period_seconds
            )
            self._metrics.attach_poller(self._poller)
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
            self._metrics.attach_poller(None)
        self._learner.close()
        if self._teacher is not None:
            self._teacher.close()
        self._environment.close()

    def _stage(self) -> Stage | None:
        view = self._poller.latest if self._poller is not None else None
        return view.progress.stage if view is not None else None

    def _play_or_retry(self, stage: Stage, stop: threading.Event) -> None:
        try:
            self._play(stage, stop)
        except ReplayTimeout as error:
            # Only a replay that was to be written to anew gets here.
            logging.getLogger(__name__).warning("no replay to write to: %s; retrying", error)
            # gRPC gives a new client the connection of an old one for as long as that exists, dead
            # or not; in a cycle of references it may exist for long.
            gc.collect()
            stop.wait(_WAIT_SECONDS)

    def _play(self, stage: Stage, stop: threading.Event) -> None:
        """Play one stage to its end, into its table."""

        def should_stop() -> bool:
            return stop.is_set() or self._stage() is not stage

        table = TEACHER_TABLE if stage is Stage.COLLECT else STUDENT_TABLE
        stalls = StalledInsertDetector(self._config.replay_address, table)
        if stage is Stage.ONLINE:
            self._check_teacher_is_named()
        self._await_teacher(stage, stop)
        seeds = self._seeds()
        self._random = np.random.default_rng(seeds[0])
        guide = self._recipe.guide
        self._turns = GuideTurns(guide, self._config.num_envs) if guide is not None else None
        writer = ReplayWriter(
            self._config.replay_address,
            table,
            self._layout,
            self._config.num_envs,
            should_stop=lambda: should_stop() or stalls.is_stalled(),
            priority=lambda: self._view().progress.max_priority,
            on_wait=self._metrics.waited_to_insert,
            options=WriterOptions(connect_timeout_seconds=_CONNECT_SECONDS),
        )
        with contextlib.closing(writer):
            play = Play(
                self._environment,
                writer,
                self._annotator,
                seed=seeds[1],
                max_pending=self._config.max_pending_steps,
            )
            policy = self._teacher_acts if stage is Stage.COLLECT else self._student_acts
            # A stage that ends while a write waits for the rate limiter: there is no more to write.
            # Nor is there on a connection that is dead: the caller begins anew.
            with contextlib.suppress(WriterStopped):
                while not should_stop():
                    self._step(play, policy, stop)
                    stalls.reset()
                play.finish()
                writer.flush(_FLUSH_SECONDS)

    def _step(self, play: Play, policy: Policy, stop: threading.Event) -> None:
        try:
            play.step(policy)
        except TeacherRejected as error:
            raise UserError(f"the teacher refuses this game's states: {error}") from error
        except TeacherError as error:
            # Only a teacher that was to act gets here; nothing was stepped or stored.
            self._annotator.note_unanswered(error)
            logging.getLogger(__name__).warning("no teacher to play: %s; retrying", error)
            stop.wait(1.0)

    def _teacher_acts(
        self, observations: NDArray[np.uint8], episode_start: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], Labels]:
        """The teacher's actions, but for a few random ones; its answer is the label."""
        del episode_start
        if self._teacher is None:
            raise UserError("the teacher's table needs a teacher: give --teacher-address")
        values = self._teacher.evaluate(observations).action_values
        self._annotator.note_answered()
        actions = self._chosen_by_teacher(values)
        explores = self._random.random(len(actions)) < self._config.collect_epsilon
        random_actions = self._random.integers(0, self._layout.num_actions, len(actions))
        return np.where(explores, random_actions, actions), values

    def _student_acts(
        self, observations: NDArray[np.uint8], episode_start: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], Labels]:
        """The student's epsilon-greedy actions; the query about its states is sent first."""
        view = self._view()
        guided = self._guided(episode_start, view.progress.actor_steps)
        labels: Labels = None
        if self._teacher is not None and (
            guided.any() or self._recipe.needs_teacher(view.progress)
        ):
            labels = self._teacher.evaluate_future(observations)
        drawn, _ = self._policy(
            view.params,
            observations,
            jax.random.key(self._random.integers(2**32)),
            self._epsilon(view.progress.actor_steps),
        )
        actions = np.asarray(drawn, np.int64)
        if guided.any():
            labels = self._annotator.values(labels)
            if labels is not None:
                actions = np.where(guided, self._chosen_by_teacher(labels), actions)
        return actions, labels

    def _chosen_by_teacher(self, values: NDArray[np.float32]) -> NDArray[np.int64]:
        assert self._taught_by is not None, "a teacher that answers has described itself"
        return teacher_actions(
            values,
            output=self._taught_by.output,
            temperature=self._taught_by.temperature,
            random=self._random,
        )

    def _guided(self, episode_start: NDArray[np.bool_], actor_steps: int) -> NDArray[np.bool_]:
        """Bool [N], which steps the method's guide takes."""
        if self._turns is None or self._taught_by is None:
            return np.zeros(len(episode_start), bool)
        return self._turns.next(episode_start, actor_steps, self._random)

    def _view(self) -> ActingView:
        view = self._poller.latest if self._poller is not None else None
        assert view is not None, "acting starts after the first weights"
        return view

    def _replay_is_there(self, stop: threading.Event) -> bool:
        """Wait for replay; False when stopped meanwhile.

        Raises:
            UserError: it does not come.
        """
        end = time.monotonic() + _STARTUP_SECONDS
        while not stop.is_set():
            try:
                table_counts(self._config.replay_address, timeout_seconds=1.0)
                return True
            except ReplayTimeout as error:
                if time.monotonic() > end:
                    raise UserError(str(error)) from error
        return False

    def _await_teacher(self, stage: Stage, stop: threading.Event) -> None:
        """Wait for the teacher while the stage needs it: an unneeded one may be gone for good.

        Raises:
            UserError: it does not come, is of another game, or no teacher at all.
        """
        end = time.monotonic() + _STARTUP_SECONDS
        while self._taught_by is None and self._is_asked(stage) and not stop.is_set():
            if self._teacher is None or self._stage() is not stage:
                return
            try:
                described = self._teacher.wait_until_ready(1.0)
            except TeacherUnavailable as error:
                if time.monotonic() > end:
                    raise UserError(str(error)) from error
                continue
            except TeacherError as error:
                raise UserError(str(error)) from error
            self._check_game(described)
            self._taught_by = described

    def _is_asked(self, stage: Stage) -> bool:
        """Whether the method asks the teacher now."""
        progress, recipe = self._view().progress, self._recipe
        return (
            stage is Stage.COLLECT
            or recipe.needs_teacher(progress)
            or recipe.teacher_acts(progress.actor_steps)
        )

    def _check_game(self, described: TeacherDescription) -> None:
        spec = self._environment.spec
        if described.num_actions != spec.num_actions:
            raise UserError(
                f"the teacher ({described.name}) answers {described.num_actions} actions, "
                f"{spec.name} has {spec.num_actions}; choose a teacher of this game"
            )
        seen = (described.observation_dtype, described.observation_shape)
        if seen != (spec.frame_dtype, spec.observation_shape):
            raise UserError(
                f"the teacher ({described.name}) sees {described.observation_dtype} observations "
                f"{described.observation_shape}, {spec.name} shows {spec.frame_dtype} "
                f"{spec.observation_shape}; choose a teacher of this game"
            )

    def _check_teacher_is_named(self) -> None:
        """Refuse to play a method's part without the teacher that it asks now.

        Raises:
            UserError: nobody said where the teacher is.
        """
        if self._teacher is None and self._is_asked(Stage.ONLINE):
            raise UserError(
                f"{self._recipe.name} asks its teacher while the student plays: give "
                "--teacher-address"
            )

    def _seeds(self) -> tuple[int, int]:
        """Seeds of a stretch's actions and of its environments.

        The run's clock enters, so that a resumed actor does not play the same games again.
        """
        progress = self._view().progress
        clock = progress.teacher_steps + progress.actor_steps
        sequence = np.random.SeedSequence([self._config.seed, self._config.index, clock])
        actions, environments = sequence.generate_state(2)
        return int(actions), int(environments) % _LARGEST_ENVIRONMENT_SEED


def build_actor(config: ActorConfig, metrics: ActorMetrics | None = None) -> Actor:
    """One actor, not yet playing."""
    return Actor(config, metrics)
