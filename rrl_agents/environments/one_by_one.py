"""N games written in Python, stepped one after the other: a `VectorEnvironment` of `SingleGame`s.

What a game of one's own needs to be played: its rules, seeding and frames. Counting decisions,
cutting episodes off and starting them anew happens here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rrl_agents.environments.interface import Step
from rrl_agents.types import EnvironmentSpec


class SingleGame(Protocol):
    """One game, played by one player."""

    def seed(self, seed: int) -> None:
        """Make all that follows depend on `seed` and the actions only."""

    def reset(self) -> None:
        """Start a new episode."""

    def act(self, action: int) -> tuple[float, bool]:
        """Play an action of 0 .. A - 1; its raw reward, and whether the game is over by its rules.

        Not called again after the game is over before it is reset.
        """

    def frame(self) -> NDArray[Any]:
        """What the player sees now, of the spec's frame shape and type."""


class OneByOne:
    """N copies of one game; a `VectorEnvironment`.

    Attributes:
        spec: Shapes, actions and limits.
        num_envs: Number of environments N.
    """

    def __init__(self, spec: EnvironmentSpec, games: Sequence[SingleGame]) -> None:
        """Take the games.

        Args:
            spec: What all of them are; its stack size must be 1.
            games: At least one, none of them twice.

        Raises:
            ValueError: When the spec stacks frames.
        """
        if spec.stack_size != 1:
            raise ValueError(f"stack_size is {spec.stack_size}; these games stack no frames: use 1")
        self.spec = spec
        self.num_envs = len(games)
        self._games = tuple(games)
        self._steps = np.zeros(self.num_envs, dtype=np.int64)
        self._ended = np.zeros(self.num_envs, dtype=np.bool_)

    def reset(self, seed: int) -> NDArray[Any]:
        """Start N fresh episodes; environment i is seeded with seed + i.

        Args:
            seed: At least 0; with N added it must fit 32 bits.

        Returns:
            [N, *frame, 1], first observations.

        Raises:
            ValueError: When the seed is out of range.
        """
        largest = 2**32 - 1 - self.num_envs
        if not 0 <= seed <= largest:
            raise ValueError(f"seed is {seed}; use a whole number from 0 to {largest}")
        for i, game in enumerate(self._games):
            game.seed(seed + i)
            game.reset()
        self._steps[:] = 0
        self._ended = np.zeros(self.num_envs, dtype=np.bool_)
        return self._observation()

    def step(self, action: NDArray[np.int64]) -> Step:
        """Act, int64 [N]; an environment whose episode has ended starts a new one instead.

        Raises:
            ValueError: When an action is not one of 0 .. A - 1.
        """
        if action.min() < 0 or action.max() >= self.spec.num_actions:
            raise ValueError(
                f"actions are {action}; {self.spec.name} has 0 to A - 1 with "
                f"A = {self.spec.num_actions}"
            )
        starts = self._ended
        reward, terminated = self._act(action.tolist(), starts)
        self._steps = np.where(starts, 0, self._steps + 1)
        truncated = (self._steps >= self.spec.max_episode_steps) & ~terminated
        self._ended = terminated | truncated
        return Step(
            observation=self._observation(),
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            episode_start=starts,
        )

    def close(self) -> None:
        """Nothing is held."""

    def _act(
        self, actions: Sequence[int], starts: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Rewards float32 [N] and ends bool [N] of the games that go on; the others are reset."""
        reward = np.zeros(self.num_envs, dtype=np.float32)
        terminated = np.zeros(self.num_envs, dtype=np.bool_)
        for i, game in enumerate(self._games):
            if starts[i]:
                game.reset()
            else:
                reward[i], terminated[i] = game.act(actions[i])
        return reward, terminated

    def _observation(self) -> NDArray[Any]:
        # A new array each time: those before are still in the hands of the player.
        frames = np.empty((self.num_envs, *self.spec.frame_shape), dtype=self.spec.frame_dtype)
        for i, game in enumerate(self._games):
            frames[i] = game.frame()
        return frames[..., None]
