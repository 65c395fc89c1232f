"""Plays evaluations: of a student's weights, and of the teacher, wherever these come from.

Its environments and seeds are its own: an evaluation of the same weights with the same index plays
the same episodes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import NDArray

from rrl_agents.environments.registry import make_environment
from rrl_agents.networks.registry import action_values, make_network
from rrl_agents.networks.size import check_size
from rrl_agents.types import Params
from rrl_client import TeacherDescription
from rrl_client.actions import action_preferences
from services.evaluator.config import EvaluatorConfig
from services.evaluator.episodes import ActionValues, PlayedEpisodes, joined, play_episodes
from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.video import record_gif

if TYPE_CHECKING:
    from rrl_agents.environments.vector_environment import VectorEnvironment
    from services.evaluator.resting import RestingEnvironments

_EVALUATION_SEED = 1_000_003
"""Keeps evaluation apart from the seeds that actors derive."""
_TEACHER_INDEX = 0
"""The teacher's among the versions of the weights, which count from 1."""
_FRAMES_PER_SECOND = 15.0
"""One frame per agent step: Atari's 60 Hz over 4 frames a step."""


class EvaluationPlayer:
    """Plays the episodes of evaluations.

    Args:
        config: Environments and protocol.
        metrics: What it counts.
    """

    def __init__(self, config: EvaluatorConfig, metrics: EvaluatorMetrics) -> None:
        self._config = config
        self._metrics = metrics
        with contextlib.closing(make_environment(config.environment, 1)) as environment:
            self._spec = environment.spec
        self._network = make_network(config.network, self._spec.num_actions)
        self._student = jax.jit(lambda params, states: action_values(self._network, params, states))
        self._is_prepared = False

    def prepare(self) -> None:
        """Compile all that evaluations of students run, unless that is done; else the first would.

        Evaluations during the run and the last one may differ in the number of environments.
        """
        if self._is_prepared:
            return
        protocol, spec = self._config.protocol, self._spec
        shapes = check_size(self._network, spec.observation_shape)
        params = jax.device_put(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))
        for num_envs in {self._num_envs(n) for n in (protocol.episodes, protocol.final_episodes)}:
            states = np.zeros((num_envs, *spec.observation_shape), spec.frame_dtype)
            self._student(params, states).block_until_ready()
        self._is_prepared = True

    def student(
        self, params: Params, *, version: int, final: bool, should_stop: Callable[[], bool]
    ) -> PlayedEpisodes | None:
        """Play a student; the first episode of final weights becomes the run's video.

        Args:
            params: Its parameters.
            version: Of them; decides the seeds.
            final: Whether their result is the run's.
            should_stop: Looked at before every step.

        Returns:
            None when stopped before the end.
        """
        self.prepare()
        on_device = jax.device_put(params)

        def values(states: NDArray[Any]) -> NDArray[np.float32]:
            return np.asarray(self._student(on_device, states))

        protocol = self._config.protocol
        played = self._play(
            values,
            episodes=protocol.final_episodes if final else protocol.episodes,
            index=version,
            should_stop=should_stop,
        )
        if played is not None and final and self._config.video is not None:
            record_gif(played.first_episode_frames, self._config.video, _FRAMES_PER_SECOND)
        return played

    def teacher(
        self,
        scores: ActionValues,
        described: TeacherDescription,
        should_stop: Callable[[], bool],
    ) -> PlayedEpisodes | None:
        """Play the teacher.

        Args:
            scores: Its scores of states; what it raises ends the evaluation.
            described: What its scores are.
            should_stop: Looked at before every step.

        Returns:
            None when stopped before the end.
        """
        random = np.random.default_rng(self._entropy(_TEACHER_INDEX, 1))
        return self._play(
            lambda states: action_preferences(
                scores(states),
                output=described.spec.output,
                temperature=described.spec.temperature,
                random=random,
            ),
            episodes=self._config.protocol.teacher_episodes,
            index=_TEACHER_INDEX,
            should_stop=should_stop,
        )

    def _play(
        self,
        values: ActionValues,
        *,
        episodes: int,
        index: int,
        should_stop: Callable[[], bool],
    ) -> PlayedEpisodes | None:
        protocol, num_envs = self._config.protocol, self._num_envs(episodes)
        environment = self._environments(num_envs)

        def play(seed: int, count: int) -> PlayedEpisodes | None:
            return play_episodes(
                environment,
                values,
                episodes=count,
                epsilon=protocol.epsilon,
                seed=seed,
                should_stop=should_stop,
                on_steps=lambda steps: self._metrics.stepped(steps * self._spec.frames_per_step),
                on_episode=self._metrics.finished_episode,
                on_share=environment.rest,
            )

        with contextlib.closing(environment):
            if protocol.first_seed is None:
                sequence = np.random.SeedSequence(self._entropy(index))
                return play(int(sequence.generate_state(1)[0]) % 2**30, episodes)
            # One episode of each environment at a time: their seeds are then consecutive.
            parts = []
            for first in range(0, episodes, num_envs):
                part = play(protocol.first_seed + first, min(num_envs, episodes - first))
                if part is None:
                    return None
                parts.append(part)
            return joined(parts)

    def _environments(self, num_envs: int) -> VectorEnvironment | RestingEnvironments:
        config = self._config.environment
        if config.environment.steps_are_costly:
            # Gymnasium comes with it: it is imported when it is played.
            from services.evaluator.resting import RestingEnvironments

            return RestingEnvironments(lambda: make_environment(config, 1), num_envs)
        return make_environment(config, num_envs)

    def _num_envs(self, episodes: int) -> int:
        """No more environments than episodes: the others would play for nothing."""
        return min(self._config.protocol.num_envs, episodes)

    def _entropy(self, *indices: int) -> list[int]:
        return [self._config.seed, _EVALUATION_SEED, *indices]
