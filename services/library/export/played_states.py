"""States that occur in a game, to compare two forms of one teacher on."""

from __future__ import annotations

import contextlib

import numpy as np
from numpy.typing import NDArray

from rrl_agents.environments.registry import EnvironmentConfig, make_environment

_ENVIRONMENTS = 8
_STEPS_BETWEEN = 4


def played_states(config: EnvironmentConfig, *, count: int = 64) -> NDArray[np.uint8]:
    """Play at random and keep some of the states.

    Args:
        config: What is played.
        count: States wanted, at least 1.

    Returns:
        uint8 [count, H, W, stack], the same for the same arguments.
    """
    random = np.random.default_rng(0)
    kept: list[NDArray[np.uint8]] = []
    with contextlib.closing(make_environment(config, _ENVIRONMENTS)) as environment:
        kept.append(environment.reset(seed=0))
        while len(kept) * _ENVIRONMENTS < count:
            for _ in range(_STEPS_BETWEEN):
                actions = random.integers(environment.spec.num_actions, size=_ENVIRONMENTS)
                step = environment.step(actions)
            kept.append(step.observation)
    return np.concatenate(kept)[:count]
