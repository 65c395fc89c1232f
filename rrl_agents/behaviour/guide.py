"""Decides who acts: a guide rolls in, then the student acts, or both at random (JSRL).

Uchendu et al., 2022, arXiv:2204.02372. Uses NumPy and one random generator; the caller holds both
policies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guide:
    """How much a guide plays.

    Attributes:
        horizon: `actor_steps -> K`, the longest roll-in of an episode that starts now, in
            decisions.
        share: `actor_steps -> probability` that the guide takes a step after the roll-in.
    """

    horizon: Callable[[int], int]
    share: Callable[[int], float]

    def is_over(self, actor_steps: int) -> bool:
        """Whether the student plays alone from now on: both schedules only decrease."""
        return self.horizon(actor_steps) == 0 and self.share(actor_steps) == 0.0


class GuideTurns:
    """Counts the roll-ins of N environments.

    Args:
        guide: The schedules.
        num_envs: Environments N.
    """

    def __init__(self, guide: Guide, num_envs: int) -> None:
        self._guide = guide
        self._steps_left = np.zeros(num_envs, dtype=np.int64)

    def next(
        self, episode_start: NDArray[np.bool_], actor_steps: int, random: np.random.Generator
    ) -> NDArray[np.bool_]:
        """Decide who takes this step, and count it.

        Args:
            episode_start: bool [N], the observation is the first of an episode: its roll-in is
                drawn, uniformly from 1 to K, as in the released code of Agarwal et al., 2022; 0
                where K is 0.
            actor_steps: Clock of the schedules.
            random: Source of the random draws.

        Returns:
            bool [N], where the guide acts.
        """
        horizon = self._guide.horizon(actor_steps)
        rolls = random.integers(min(1, horizon), horizon + 1, len(episode_start))
        self._steps_left = np.where(episode_start, rolls, self._steps_left)
        rolling_in = self._steps_left > 0
        self._steps_left = np.maximum(self._steps_left - 1, 0)
        by_lot = random.random(len(episode_start)) < self._guide.share(actor_steps)
        taken: NDArray[np.bool_] = rolling_in | by_lot
        return taken
