"""CartPole (Barto, Sutton and Anderson, 1983) as in Gymnasium's CartPole-v1: a vector to observe.

A frame is float32 [4]: the cart's position (m) and speed (m/s), the pole's angle (rad) and angular
speed (rad/s). A decision pushes the cart left (0) or right (1) and gives +1; an episode ends when
the pole leans by more than 12 degrees or the cart is 2.4 m from the middle, and is cut off after
500 decisions. Physics and starts are Gymnasium's own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from numpy.typing import NDArray

from rrl_agents.environments.one_by_one import OneByOne
from rrl_agents.types import EnvironmentSpec

FRAME_HIGH = (2.4, 5.0, math.pi / 12, 2 * math.pi)
"""What networks see as +1, and its negative as -1: Dopamine's bounds of CartPole."""

MAX_EPISODE_STEPS = 500
"""Decisions after which an episode of CartPole-v1 is cut off, so its best return."""


def make_cartpole(num_envs: int, *, max_episode_steps: int | None = None) -> OneByOne:
    """N carts with frames float32 [4].

    Args:
        num_envs: Number of environments N, at least 1.
        max_episode_steps: Decisions after which an episode is cut off; None for 500.
    """
    spec = EnvironmentSpec(
        name="cartpole",
        frame_shape=(4,),
        stack_size=1,
        num_actions=2,
        frames_per_step=1,
        max_episode_steps=MAX_EPISODE_STEPS if max_episode_steps is None else max_episode_steps,
        frame_dtype="float32",
        frame_low=tuple(-bound for bound in FRAME_HIGH),
        frame_high=FRAME_HIGH,
    )
    return OneByOne(spec, [_Cart() for _ in range(num_envs)])


class _Cart:
    """One cart, a `SingleGame`."""

    def __init__(self) -> None:
        self._physics = CartPoleEnv()
        self._frame = np.zeros(4, dtype=np.float32)

    def seed(self, seed: int) -> None:
        self._physics.reset(seed=seed)

    def reset(self) -> None:
        self._frame, _ = self._physics.reset()

    def act(self, action: int) -> tuple[float, bool]:
        physics: Any = self._physics
        self._frame, reward, terminated, _, _ = physics.step(action)
        return float(reward), bool(terminated)

    def frame(self) -> NDArray[np.float32]:
        return self._frame
