"""CartPole (Barto, Sutton and Anderson, 1983) as in Gymnasium's CartPole-v1: a vector to observe.

A frame is float32 [4]: the cart's position (m) and speed (m/s), the pole's angle (rad) and angular
speed (rad/s). A decision pushes the cart left (0) or right (1) and gives +1; an episode ends when
the pole leans by more than 12 degrees or the cart is 2.4 m from the middle, and is cut off after
500 decisions. Physics and starts are Gymnasium's own.
"""

from __future__ import annotations

import math

from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.environments.vector_environment import VectorEnvironment, one_by_one

FRAME_HIGH = (2.4, 5.0, math.pi / 12, 2 * math.pi)
"""What networks see as +1, and its negative as -1: Dopamine's bounds of CartPole."""


def make_cartpole(config: EnvironmentConfig, num_envs: int, _: int) -> VectorEnvironment:
    """N carts with frames float32 [4]."""
    return one_by_one(
        CartPoleEnv,
        num_envs,
        name="cartpole",
        max_episode_steps=config.episode_steps,
        frame_high=FRAME_HIGH,
    )
