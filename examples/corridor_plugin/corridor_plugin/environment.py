"""A corridor of nine cells: start in the middle, leave it at the right end.

Observations are float32 [9], 1 at the agent's position; actions go left (0) or right (1) and
cost 1 each. The best return is -4; always going left returns -40, the step limit.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rrl_agents.environments.registry import Environment, EnvironmentConfig
from rrl_agents.environments.vector_environment import VectorEnvironment, one_by_one

CELLS = 9


class Corridor(gymnasium.Env[NDArray[np.float32], np.int64]):
    """One corridor."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(0, 1, (CELLS,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start in the middle."""
        super().reset(seed=seed, options=options)
        self._place = CELLS // 2
        return self._seen(), {}

    def step(
        self, action: np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Move one cell."""
        self._place = max(0, self._place + (1 if action == 1 else -1))
        return self._seen(), -1.0, self._place == CELLS - 1, False, {}

    def _seen(self) -> NDArray[np.float32]:
        seen = np.zeros(CELLS, np.float32)
        seen[self._place] = 1.0
        return seen


def make(config: EnvironmentConfig, num_envs: int, _: int) -> VectorEnvironment:
    """N corridors."""
    return one_by_one(Corridor, num_envs, name="corridor", max_episode_steps=config.episode_steps)


ENVIRONMENT = Environment(
    summary="a corridor to leave at its right end",
    function=f"{__name__}:make",
    episode_steps=40,
)
