"""Reference policies for the balloon: StationSeeker, and random play.

Both are teachers by name, `BLE/station_seeker` and `BLE/random`: they can be served, evaluated,
and learned from.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_agents.environments.balloon import NUM_ACTIONS, OBSERVATION_SIZE, package_imports

_IMPOSSIBLE = -1e4
"""Logit of an action that is never taken."""


class _Player:
    """The attributes of a policy (`rrl_agents.teacher_policy_interface`)."""

    game = "balloon"
    num_actions, observation_shape, observation_dtype = NUM_ACTIONS, (OBSERVATION_SIZE,), "float32"
    output, temperature = "logits", 1.0


class StationSeeker(_Player):
    """The controller that flew Loon's balloons before learned ones did (Bellemare et al., 2020).

    It scores the wind at every altitude and moves to the best one. The implementation is the
    package's.
    """

    name, version = "StationSeeker", "1.0.1"

    @functools.cached_property
    def _controller(self) -> Any:
        with package_imports():
            from balloon_learning_environment.agents.station_seeker_agent import StationSeekerAgent
        return StationSeekerAgent(NUM_ACTIONS, (OBSERVATION_SIZE,))

    def evaluate(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits float32 [B, 3]: 0 for the chosen action, impossible for the others."""
        logits = np.full((len(observations), NUM_ACTIONS), _IMPOSSIBLE, np.float32)
        for row, observation in zip(logits, observations, strict=True):
            row[self._controller.pick_action(observation)] = 0.0
        return logits


class Random(_Player):
    """All actions are equally likely."""

    name, version = "random", "1"

    def evaluate(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Zeros, float32 [B, 3]."""
        return np.zeros((len(observations), NUM_ACTIONS), np.float32)
