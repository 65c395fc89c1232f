"""The evaluator: plays the weights that are due, and the teacher where its return is unknown.

    learner ── weights due ──▶ episodes ──▶ returns ──▶ learner (weaning, report)
    teacher ◀── states ─────── episodes                 once, if its card has no score

Its environments and seeds are its own. When newer weights end the run, an evaluation under way is
dropped for the final one.
"""

from __future__ import annotations

import contextlib
import logging
import threading

import jax
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from rrl_agents.environments.registry import make_environment
from rrl_agents.networks.registry import action_values, make_network
from rrl_agents.types import Stage
from rrl_client import Priority, TeacherClient, TeacherError, TeacherRejected
from rrl_client.actions import action_preferences
from services.evaluator.config import EvaluatorConfig
from services.evaluator.episodes import ActionValues, PlayedEpisodes, play_episodes
from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.video import record_gif
from services.learner.client import (
    EvaluationRefused,
    LearnerClient,
    LearnerRefused,
    LearnerUnavailable,
    Purpose,
    WeightUpdate,
)
from services.learner.codec import EvaluationReport, progress_from_proto
from services.shared.errors import UserError, user_errors
from services.shared.logging import Occasionally

_EVALUATION_SEED = 1_000_003
"""Keeps evaluation apart from the seeds that actors derive."""
_TEACHER_INDEX = 0
"""The teacher's among the versions of the weights, which count from 1."""
_FINISHED_CHECK_SECONDS = 1.0
_FRAMES_PER_SECOND = 15.0
"""One frame per agent step: Atari's 60 Hz over 4 frames a step."""


class Evaluator:
    """Evaluates until the run is finished or `stop` is set.

    Args:
        config: Environments, protocol and peers.
        metrics: What it counts; None shows it nowhere.
    """

    def __init__(self, config: EvaluatorConfig, metrics: EvaluatorMetrics | None = None) -> None:
        self._config = config
        self._metrics = metrics or EvaluatorMetrics(CollectorRegistry())
        with contextlib.closing(make_environment(config.environment, 1)) as environment:
            self._frames_per_step = environment.spec.frames_per_step
            network = make_network(config.network, environment.spec.num_actions)
        self._student = jax.jit(lambda params, states: action_values(network, params, states))
        self._learner = LearnerClient(config.learner_address, security=config.peers)
        self._known_version = 0
        self._session = ""
        self._is_unavailable = False
        self._final_played = False
        self._log = logging.getLogger(__name__)

    def run(self, stop: threading.Event) -> None:
        """Evaluate until the run is finished or `stop` is set.

        Raises:
            UserError: the learner refuses us or is none, or the teacher is needed and has no
                address.
        """
        with contextlib.closing(self._learner):
            while not stop.is_set():
                update = self._fetch()
                if update is not None:
                    if update.progress.stage is Stage.FINISHED:
                        return
                    if self.evaluate_what_is_due(update, stop):
                        continue
                stop.wait(self._config.poll_seconds)

    def evaluate_what_is_due(self, update: WeightUpdate, stop: threading.Event) -> bool:
        """Play the teacher if its return is wanted, else the weights of an answer, if any.

        Returns:
            Whether anything was played.
        """
        if update.progress.teacher_return is None:
            return self._evaluate_teacher(stop)
        if update.params is None:
            return False
        self._evaluate_student(update, stop)
        return True

    def _evaluate_teacher(self, stop: threading.Event) -> bool:
        address = self._config.teacher_address
        if address is None:
            raise UserError(
                "the teacher's return is unknown, and the evaluator has no teacher to play: give "
                "--teacher-address, or --teacher.mean-return to all roles"
            )
        with TeacherClient(
            address, priority=Priority.EVALUATION, security=self._config.peers
        ) as teacher:
            try:
                described = teacher.wait_until_ready(self._config.poll_seconds)
                random = np.random.default_rng(self._entropy(_TEACHER_INDEX, 1))
                self._log.info("playing the teacher: its card has no score")
                played = self._play(
                    lambda states: action_preferences(
                        teacher.evaluate(states).action_values,
                        output=described.spec.output,
                        temperature=described.spec.temperature,
                        random=random,
                    ),
                    episodes=self._config.protocol.teacher_episodes,
                    index=_TEACHER_INDEX,
                    stop=stop,
                )
            except TeacherRejected as error:
                raise UserError(f"the teacher refuses this game's states: {error}") from error
            except TeacherError as error:
                self._log.warning("the teacher cannot be played now: %s", error)
                return False
        return played is not None and self._report(played, version=0, stop=stop)

    def _evaluate_student(self, update: WeightUpdate, stop: threading.Event) -> None:
        params = jax.device_put(update.params)

        def student(states: NDArray[np.uint8]) -> NDArray[np.float32]:
            return np.asarray(self._student(params, states))

        protocol = self._config.protocol
        played = self._play(
            student,
            episodes=protocol.final_episodes if update.final else protocol.episodes,
            index=update.version,
            stop=stop,
            may_be_superseded=not update.final,
        )
        self._known_version, self._final_played = update.version, update.final
        if played is None:
            return
        if update.final and self._config.video is not None:
            record_gif(played.first_episode_frames, self._config.video, _FRAMES_PER_SECOND)
        self._report(played, version=update.version, session=update.session, stop=stop)

    def _play(
        self,
        values: ActionValues,
        *,
        episodes: int,
        index: int,
        stop: threading.Event,
        may_be_superseded: bool = False,
    ) -> PlayedEpisodes | None:
        sequence = np.random.SeedSequence(self._entropy(index))
        seed = int(sequence.generate_state(1)[0]) % 2**30
        # No more environments than episodes: the others would play for nothing.
        num_envs = min(self._config.protocol.num_envs, episodes)
        environment = make_environment(self._config.environment, num_envs)
        is_time = Occasionally(_FINISHED_CHECK_SECONDS, at_once=False)
        with contextlib.closing(environment):
            return play_episodes(
                environment,
                values,
                episodes=episodes,
                epsilon=self._config.protocol.epsilon,
                seed=seed,
                should_stop=lambda: (
                    stop.is_set() or (may_be_superseded and is_time() and self._has_final_weights())
                ),
                on_steps=lambda steps: self._metrics.stepped(steps * self._frames_per_step),
                on_episode=self._metrics.finished_episode,
            )

    def _has_final_weights(self) -> bool:
        """Whether the run has final weights by now, which supersede all others."""
        try:
            stage = progress_from_proto(self._learner.progress().progress).stage
        except (LearnerUnavailable, ValueError):
            return False
        return stage >= Stage.FINAL_EVALUATION

    def _entropy(self, *indices: int) -> list[int]:
        return [self._config.seed, _EVALUATION_SEED, *indices]

    def _report(
        self, played: PlayedEpisodes, *, version: int, stop: threading.Event, session: str = ""
    ) -> bool:
        """Send the result, retrying while the learner is unavailable."""
        report = EvaluationReport(
            weights_version=version,
            episode_returns=played.returns,
            episode_steps=played.steps,
            epsilon=self._config.protocol.epsilon,
            session=session,
        )
        while not stop.is_set():
            try:
                with user_errors():
                    progress = self._learner.report(report)
            except EvaluationRefused as error:
                self._log.warning(
                    "the learner refused the evaluation of weights %d: %s", version, error
                )
                return False
            except LearnerUnavailable as error:
                self._log.warning("%s; retrying the report", error)
                stop.wait(self._config.poll_seconds)
                continue
            self._metrics.evaluated(mean_return=report.mean_return, weights_version=version)
            self._log.info(
                "weights %d: mean return %.2f over %d episodes, weaning weight now %.3f",
                version,
                report.mean_return,
                len(report.episode_returns),
                progress.weaning_weight,
            )
            return True
        return False

    @user_errors()
    def _fetch(self) -> WeightUpdate | None:
        try:
            update = self._learner.fetch(self._known_version, Purpose.EVALUATE)
            if update.session != self._session:
                # The learner restarted: it may want results again that it has lost. It may also be
                # too busy to send these weights yet, so they count as unknown from here on.
                self._session, self._final_played = update.session, False
                self._known_version = 0
                update = self._learner.fetch(0, Purpose.EVALUATE)
            if update.final and update.params is None and not self._final_played:
                # The last weights were due, and known, before the run declared them final.
                update = self._learner.fetch(0, Purpose.EVALUATE)
        except LearnerUnavailable as error:
            if isinstance(error, LearnerRefused) and not self._session:
                raise UserError(str(error)) from error
            if not self._is_unavailable:
                self._log.warning("%s; retrying", error)
            self._is_unavailable = True
            return None
        self._is_unavailable = False
        return update


def build_evaluator(config: EvaluatorConfig, metrics: EvaluatorMetrics | None = None) -> Evaluator:
    """One evaluator, not yet playing."""
    return Evaluator(config, metrics)
