"""Plays the evaluations of a student's weights and of the teacher, in any kind of run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from rrl_agents.environments.registry import make_environment
from rrl_agents.networks.registry import action_values, make_network
from rrl_agents.networks.size import check_size
from rrl_agents.types import Params
from rrl_client import TeacherDescription
from services.evaluator.config import EvaluatorConfig
from services.evaluator.episodes import ActionValues, PlayedEpisodes
from services.evaluator.gif_recording import record_gif
from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.protocol_player import ProtocolPlayer

_TEACHER_INDEX = 0
"""The teacher's evaluation index; versions of weights start from 1."""
_FRAMES_PER_SECOND = 15.0
"""One frame per agent step: Atari's 60 Hz with 4 frames per step."""


class EvaluationPlayer:
    """Plays the episodes of evaluations.

    Args:
        config: Environments and protocol.
        metrics: Its metrics.
    """

    def __init__(self, config: EvaluatorConfig, metrics: EvaluatorMetrics) -> None:
        self._config = config
        self._episodes = ProtocolPlayer(
            config.environment,
            config.protocol,
            seed=config.seed,
            on_frames=metrics.stepped,
            on_episode=metrics.finished_episode,
        )
        with contextlib.closing(make_environment(config.environment, 1)) as environment:
            self._spec = environment.spec
        self._network = make_network(config.network, self._spec.num_actions)
        self._student = jax.jit(lambda params, states: action_values(self._network, params, states))
        self._is_prepared = False

    def prepare(self) -> None:
        """Compile everything that evaluations of students need, unless that is done.

        Evaluations during the run and the last one may differ in the number of environments.
        """
        if self._is_prepared:
            return
        protocol, spec = self._config.protocol, self._spec
        shapes = check_size(self._network, spec.observation_shape)
        params = jax.device_put(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))
        for num_envs in {
            self._episodes.num_envs(n) for n in (protocol.episodes, protocol.final_episodes)
        }:
            states = np.zeros((num_envs, *spec.observation_shape), spec.frame_dtype)
            self._student(params, states).block_until_ready()
        self._is_prepared = True

    def student(
        self, params: Params, *, version: int, final: bool, should_stop: Callable[[], bool]
    ) -> PlayedEpisodes | None:
        """Evaluate a student; the first episode of the final weights becomes the run's video.

        Args:
            params: Its parameters.
            version: Version of the parameters; decides the seeds.
            final: Whether the result is the run's.
            should_stop: Looked at before every step.

        Returns:
            None when stopped before the end.
        """
        self.prepare()
        on_device = jax.device_put(params)

        def values(states: NDArray[Any]) -> NDArray[np.float32]:
            return np.asarray(self._student(on_device, states))

        protocol = self._config.protocol
        played = self._episodes.play(
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
            scores: Its scores of states; exceptions end the evaluation.
            described: Describes the scores.
            should_stop: Looked at before every step.

        Returns:
            None when stopped before the end.
        """
        return self._episodes.play_policy(
            scores,
            described.spec,
            episodes=self._config.protocol.teacher_episodes,
            index=_TEACHER_INDEX,
            should_stop=should_stop,
        )
