"""Catch (Mnih et al., 2014; bsuite, Osband et al., 2020): a ball falls, a paddle must be under it.

A grid of 10 rows and 5 columns; ball and paddle are pixels of 255 on 0. Each decision moves the
paddle left (0), not at all (1) or right (2) along the bottom row, and the ball one row down. A ball
that reaches the bottom row gives +1 on the paddle and -1 beside it; the next one enters at the top
in a uniformly random column one decision later. An episode ends after its last ball.

Known values, per ball: every column can be reached in time, so the best return is +1; the paddle of
a policy that does not look is under the ball with probability 1/5, so its return is 2/5 - 1 = -0.6.

It is cheap and its values are known exactly, which suits tests and trial runs of the whole system.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.environments.vector_environment import VectorEnvironment, one_by_one

ROWS = 10
"""Rows of the grid; a ball meets the paddle ROWS - 1 decisions after it entered."""

COLUMNS = 5
"""Columns of the grid."""

NUM_ACTIONS = 3
"""Left, stay, right."""


def make_catch(config: EnvironmentConfig, num_envs: int, _: int) -> VectorEnvironment:
    """N games with frames uint8 [10, 5]."""
    return one_by_one(
        lambda: Catch(config.balls),
        num_envs,
        name="catch",
        max_episode_steps=min(config.episode_steps, config.balls * ROWS - 1),
        stack_size=config.stack_size,
    )


class Catch(gymnasium.Env[NDArray[np.uint8], np.int64]):
    """One game of a number of balls."""

    def __init__(self, balls: int) -> None:
        self._episode_steps = balls * ROWS - 1
        self.observation_space = gymnasium.spaces.Box(0, 255, (ROWS, COLUMNS), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(NUM_ACTIONS)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Start an episode, with the paddle in the middle."""
        super().reset(seed=seed, options=options)
        self._steps = 0
        self._paddle = COLUMNS // 2
        self._ball = self._column()
        return self._frame(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Move paddle and ball."""
        self._steps += 1
        self._paddle = min(max(self._paddle + int(action) - 1, 0), COLUMNS - 1)
        row = self._steps % ROWS
        if row == 0:
            self._ball = self._column()
        reward = 0.0
        if row == ROWS - 1:
            reward = 1.0 if self._ball == self._paddle else -1.0
        return self._frame(), reward, self._steps >= self._episode_steps, False, {}

    def _column(self) -> int:
        return int(self.np_random.integers(COLUMNS))

    def _frame(self) -> NDArray[np.uint8]:
        frame = np.zeros((ROWS, COLUMNS), np.uint8)
        frame[self._steps % ROWS, self._ball] = 255
        frame[ROWS - 1, self._paddle] = 255
        return frame
