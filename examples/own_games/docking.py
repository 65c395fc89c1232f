"""A custom environment class, in which a craft should stop at the dock, and a controller for it.

It imports nothing from rrl.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

Observation = NDArray[np.float32]


class Docking(gymnasium.Env[Observation, np.int64]):
    """Push left (0), drift (1) or push right (2) until position and velocity are 0.

    Every step costs 0.01 and a fraction of the distance; stopping at the dock gives 1 and ends the
    episode, which is cut off after 100 steps.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start at a random position and velocity."""
        super().reset(seed=seed, options=options)
        self._place = self.np_random.choice([-1, 1]) * self.np_random.uniform(0.5, 1.0)
        self._speed = self.np_random.uniform(-0.05, 0.05)
        self._steps = 0
        return self._seen(), {}

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Push, then move."""
        self._steps += 1
        self._speed += 0.02 * (int(action) - 1)
        self._place = float(np.clip(self._place + self._speed, -2.0, 2.0))
        docked = abs(self._place) < 0.05 and abs(self._speed) < 0.03
        reward = float(docked) - 0.01 - 0.02 * abs(self._place)
        return self._seen(), reward, docked, self._steps >= 100, {}

    def _seen(self) -> Observation:
        # Both scaled to about 1.
        return np.asarray([self._place, 10.0 * self._speed], np.float32)


class Controller:
    """Steers towards the velocity that suits the distance."""

    name, game, version = "docking controller", "own_games.docking:Docking", "1"
    num_actions, observation_shape, observation_dtype = 3, (2,), "float32"
    output, temperature = "logits", 1.0

    def evaluate(self, observations: Observation) -> Observation:
        """Logits float32 [B, 3] of states float32 [B, 2]."""
        place, speed = observations[:, 0], observations[:, 1] / 10.0
        # A speed that pushes of 0.02 can still brake: v = sqrt(2 a d), with a margin.
        wanted = -np.sign(place) * np.sqrt(0.02 * np.abs(place))
        push = np.clip(np.rint((wanted - speed) / 0.02), -1, 1).astype(np.int64)
        return np.asarray(4.0 * np.eye(3)[push + 1], np.float32)


def make_teacher() -> Controller:
    """The factory; the service calls it once, without arguments."""
    return Controller()
