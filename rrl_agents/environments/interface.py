"""What an actor or evaluator plays: N copies of one environment, stepped together."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rrl_agents.types import EnvironmentSpec


class Step(NamedTuple):
    """What one call of `step` gives, one row per environment.

    Attributes:
        observation: [N, *frame, stack] of the spec's frame type, oldest frame first; not changed by
            later steps.
        reward: float32 [N], raw (unclipped) reward of the action.
        terminated: bool [N], the episode ended by the game's rules: no bootstrap.
        truncated: bool [N], the episode was cut off by the step limit: bootstrap goes on.
        episode_start: bool [N], this observation is the first of a new episode. Its action was
            ignored and there is no transition into it: the call after an end only resets.
    """

    observation: NDArray[Any]
    reward: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    episode_start: NDArray[np.bool_]


class VectorEnvironment(Protocol):
    """N environments stepped together, each starting anew on the call after its episode's end."""

    @property
    def spec(self) -> EnvironmentSpec:
        """Shapes, actions and limits."""

    @property
    def num_envs(self) -> int:
        """Number of environments N."""

    def reset(self, seed: int) -> NDArray[Any]:
        """Start N fresh episodes; environment i is seeded with seed + i.

        Returns:
            [N, *frame, stack], first observations.
        """

    def step(self, action: NDArray[np.int64]) -> Step:
        """Act, int64 [N]."""

    def close(self) -> None:
        """Free the environments."""
