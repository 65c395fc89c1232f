"""Plays episodes under a protocol, with anything that scores actions.

It has its own environments and seeds: an evaluation with the same index plays the same episodes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from rrl_client import PolicySpec
from rrl_client.actions import action_preferences
from services.evaluator.config import EvaluationProtocol
from services.evaluator.episodes import ActionValues, PlayedEpisodes, joined, play_episodes

if TYPE_CHECKING:
    from rrl_agents.environments.vector_environment import VectorEnvironment
    from services.evaluator.resting_environments import RestingEnvironments

_EVALUATION_SEED = 1_000_003
"""Keeps evaluation seeds apart from those of actors."""


class ProtocolPlayer:
    """Plays episodes of one environment under one protocol.

    Args:
        environment: The environment.
        protocol: Random actions, number of environments and seeds.
        seed: Seed of all episodes, if the protocol has no `first_seed`.
        on_frames: Called with the emulator frames of each step.
        on_episode: Called when an episode ends.
    """

    def __init__(
        self,
        environment: EnvironmentConfig,
        protocol: EvaluationProtocol,
        *,
        seed: int = 0,
        on_frames: Callable[[int], None] = lambda frames: None,
        on_episode: Callable[[], None] = lambda: None,
    ) -> None:
        self._environment = environment
        self._protocol = protocol
        self._seed = seed
        self._on_frames, self._on_episode = on_frames, on_episode

    def play(
        self,
        values: ActionValues,
        *,
        episodes: int,
        index: int = 0,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> PlayedEpisodes | None:
        """Play greedily by action values.

        Args:
            values: Action values of states.
            episodes: Number of episodes.
            index: Index of the evaluation; decides the seeds.
            should_stop: Looked at before every step.

        Returns:
            None when stopped before the end.
        """
        protocol, num_envs = self._protocol, self.num_envs(episodes)
        environment = self._environments(num_envs)
        frames_per_step = environment.spec.frames_per_step

        def play(seed: int, count: int) -> PlayedEpisodes | None:
            return play_episodes(
                environment,
                values,
                episodes=count,
                epsilon=protocol.epsilon,
                seed=seed,
                should_stop=should_stop,
                on_steps=lambda steps: self._on_frames(steps * frames_per_step),
                on_episode=self._on_episode,
                on_share=environment.rest,
            )

        with contextlib.closing(environment):
            if protocol.first_seed is None:
                sequence = np.random.SeedSequence(self._entropy(index))
                return play(int(sequence.generate_state(1)[0]) % 2**30, episodes)
            # One episode per environment at a time, so that seeds are consecutive.
            parts = []
            for first in range(0, episodes, num_envs):
                part = play(protocol.first_seed + first, min(num_envs, episodes - first))
                if part is None:
                    return None
                parts.append(part)
            return joined(parts)

    def play_policy(
        self,
        scores: ActionValues,
        spec: PolicySpec,
        *,
        episodes: int,
        index: int = 0,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> PlayedEpisodes | None:
        """Play as a policy acts on its scores.

        Args:
            scores: Its scores of states; exceptions end the evaluation.
            spec: Describes the scores.
            episodes: Number of episodes.
            index: As in `play`.
            should_stop: As in `play`.

        Returns:
            None when stopped before the end.
        """
        random = np.random.default_rng(self._entropy(index, 1))
        return self.play(
            lambda states: action_preferences(
                scores(states), output=spec.output, temperature=spec.temperature, random=random
            ),
            episodes=episodes,
            index=index,
            should_stop=should_stop,
        )

    def num_envs(self, episodes: int) -> int:
        """Environments stepped in parallel: no more than episodes, as others would play in vain."""
        return min(self._protocol.num_envs, episodes)

    def _environments(self, num_envs: int) -> VectorEnvironment | RestingEnvironments:
        config = self._environment
        if config.environment.steps_are_costly:
            # Imported on first use, because it imports Gymnasium.
            from services.evaluator.resting_environments import RestingEnvironments

            return RestingEnvironments(lambda: make_environment(config, 1), num_envs)
        return make_environment(config, num_envs)

    def _entropy(self, *indices: int) -> list[int]:
        return [self._seed, _EVALUATION_SEED, *indices]
