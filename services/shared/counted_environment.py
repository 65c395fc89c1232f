"""Environments that say what was played in them, for metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_agents.environments.interface import Step, VectorEnvironment
from rrl_agents.types import EnvironmentSpec


class CountedEnvironment:
    """Passes everything on to N environments, and reports steps and ended episodes.

    Args:
        environment: What is played.
        on_steps: Called with the agent steps of each call of `step`; a call after an end, which
            only resets, is none of that environment's.
        on_episode: Called with the raw return of each episode that was played to its end.
    """

    def __init__(
        self,
        environment: VectorEnvironment,
        on_steps: Callable[[int], None],
        on_episode: Callable[[float], None],
    ) -> None:
        self._environment = environment
        self._on_steps = on_steps
        self._on_episode = on_episode
        self._returns = np.zeros(environment.num_envs)

    @property
    def spec(self) -> EnvironmentSpec:
        """Shapes, actions and limits."""
        return self._environment.spec

    @property
    def num_envs(self) -> int:
        """Number of environments N."""
        return self._environment.num_envs

    def reset(self, seed: int) -> NDArray[Any]:
        """Start N fresh episodes; those under way are forgotten."""
        self._returns[:] = 0.0
        return self._environment.reset(seed)

    def step(self, action: NDArray[np.int64]) -> Step:
        """Act, int64 [N]."""
        step = self._environment.step(action)
        acted = ~step.episode_start
        self._returns += step.reward * acted
        self._on_steps(int(np.count_nonzero(acted)))
        for env in np.flatnonzero(step.terminated | step.truncated):
            self._on_episode(float(self._returns[env]))
            self._returns[env] = 0.0
        return step

    def close(self) -> None:
        """Free the environments."""
        self._environment.close()
