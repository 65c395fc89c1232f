"""Catch (Mnih et al., 2014; bsuite, Osband et al., 2020): a ball falls, a paddle must be under it.

A grid of 10 rows and 5 columns; ball and paddle are pixels of 255 on 0. Each decision moves the
paddle left (0), not at all (1) or right (2) along the bottom row, and the ball one row down. A ball
that reaches the bottom row gives +1 on the paddle and -1 beside it; the next one enters at the top
in a uniformly random column one decision later. An episode ends after its last ball.

Known values, per ball: every column can be reached in time, so the best return is +1; the paddle of
a policy that does not look is under the ball with probability 1/5, so its return is 2/5 - 1 = -0.6.

It costs next to nothing and has exact answers: for tests and trial runs of the whole system.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rrl_agents.environments.interface import Step
from rrl_agents.types import EnvironmentSpec

ROWS = 10
"""Rows of the grid; a ball meets the paddle ROWS - 1 decisions after it entered."""

COLUMNS = 5
"""Columns of the grid."""

NUM_ACTIONS = 3
"""Left, stay, right."""

BEST_RETURN_PER_BALL = 1.0
"""Return of the optimal policy."""

RANDOM_RETURN_PER_BALL = 2 / COLUMNS - 1
"""Expected return of the uniformly random policy."""


class CatchEnvironment:
    """N games of Catch; a `VectorEnvironment`.

    Attributes:
        spec: Shapes, actions and limits.
        num_envs: Number of environments N.
    """

    def __init__(
        self,
        num_envs: int,
        *,
        balls: int = 1,
        stack_size: int = 1,
        max_episode_steps: int | None = None,
    ) -> None:
        """Set up the games.

        Args:
            num_envs: Number of environments N, at least 1.
            balls: Balls per episode, at least 1.
            stack_size: Frames in one observation, at least 1.
            max_episode_steps: Decisions after which an episode is cut off; None for no limit
                below the episode's own length.
        """
        self.num_envs = num_envs
        self._episode_steps = balls * ROWS - 1
        limit = self._episode_steps if max_episode_steps is None else max_episode_steps
        self.spec = EnvironmentSpec(
            name="catch",
            frame_shape=(ROWS, COLUMNS),
            stack_size=stack_size,
            num_actions=NUM_ACTIONS,
            frames_per_step=1,
            max_episode_steps=limit,
        )
        self._generators = [np.random.default_rng(i) for i in range(num_envs)]
        self._steps = np.zeros(num_envs, dtype=np.int64)
        self._ball_column = np.zeros(num_envs, dtype=np.int64)
        self._paddle_column = np.zeros(num_envs, dtype=np.int64)
        self._ended = np.zeros(num_envs, dtype=np.bool_)
        self._stack = np.zeros((num_envs, *self.spec.observation_shape), dtype=np.uint8)

    def reset(self, seed: int) -> NDArray[np.uint8]:
        """Start N fresh episodes; environment i is seeded with seed + i.

        Returns:
            uint8 [N, 10, 5, stack], first observations, zero-padded.
        """
        self._generators = [np.random.default_rng(seed + i) for i in range(self.num_envs)]
        everywhere = np.ones(self.num_envs, dtype=np.bool_)
        self._start_episodes(everywhere)
        self._ended = ~everywhere
        self._push_frames()
        return self._stack.copy()

    def step(self, action: NDArray[np.int64]) -> Step:
        """Act, int64 [N]; an environment whose episode has ended starts a new one instead.

        Raises:
            ValueError: When an action is not 0, 1 or 2.
        """
        if action.min() < 0 or action.max() >= NUM_ACTIONS:
            raise ValueError(f"actions are {action}; Catch has 0 (left), 1 (stay) and 2 (right)")
        starts = self._ended
        self._move(action)
        self._start_episodes(starts)
        lands = (self._steps % ROWS == ROWS - 1) & ~starts
        caught = self._ball_column == self._paddle_column
        terminated = (self._steps >= self._episode_steps) & ~starts
        truncated = (self._steps >= self.spec.max_episode_steps) & ~starts & ~terminated
        self._ended = terminated | truncated
        self._push_frames()
        return Step(
            observation=self._stack.copy(),
            reward=np.where(lands, np.where(caught, 1.0, -1.0), 0.0).astype(np.float32),
            terminated=terminated,
            truncated=truncated,
            episode_start=starts,
        )

    def close(self) -> None:
        """Nothing is held."""

    def _move(self, action: NDArray[np.int64]) -> None:
        self._steps += 1
        self._paddle_column = np.clip(self._paddle_column + action - 1, 0, COLUMNS - 1)
        self._draw_balls(self._steps % ROWS == 0)

    def _start_episodes(self, starts: NDArray[np.bool_]) -> None:
        self._steps[starts] = 0
        self._paddle_column[starts] = COLUMNS // 2
        self._draw_balls(starts)
        self._stack[starts] = 0

    def _draw_balls(self, where: NDArray[np.bool_]) -> None:
        for i in np.flatnonzero(where):
            self._ball_column[i] = self._generators[i].integers(COLUMNS)

    def _push_frames(self) -> None:
        environments = np.arange(self.num_envs)
        self._stack[..., :-1] = self._stack[..., 1:].copy()
        self._stack[..., -1] = 0
        self._stack[environments, self._steps % ROWS, self._ball_column, -1] = 255
        self._stack[environments, ROWS - 1, self._paddle_column, -1] = 255
