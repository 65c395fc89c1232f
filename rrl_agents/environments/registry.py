"""Environments from their config: what an actor or evaluator plays, and where its score begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rrl_agents.environments.config import EnvironmentConfig
from rrl_agents.environments.interface import VectorEnvironment
from rrl_agents.environments.kinds import ENVIRONMENTS, games
from rrl_agents.environments.random_returns import random_return

__all__ = ["ENVIRONMENTS", "EnvironmentConfig", "games", "make_environment", "random_return"]


def make_environment(
    config: EnvironmentConfig, num_envs: int, *, num_threads: int = 1
) -> VectorEnvironment:
    """Build N environments.

    Args:
        config: What is played.
        num_envs: Number of environments N, at least 1.
        num_threads: Threads of Atari's emulators, at least 1; the others need none.

    Raises:
        ValueError: When a number is not positive, or the environment is not installed.
    """
    if num_envs < 1 or num_threads < 1:
        raise ValueError(f"num_envs is {num_envs}, num_threads {num_threads}; use 1 or more")
    return _MAKERS[config.name](config, num_envs, num_threads)


# Each environment is imported when it is played: ale-py, Gymnasium and MinAtar take their time.


def _atari(config: EnvironmentConfig, num_envs: int, num_threads: int) -> VectorEnvironment:
    from rrl_agents.environments import atari

    return atari.AtariEnvironment(
        config.game,
        num_envs,
        num_threads=num_threads,
        max_episode_steps=config.max_episode_steps,
        sticky_action_probability=config.sticky_actions,
    )


def _minatar(config: EnvironmentConfig, num_envs: int, num_threads: int) -> VectorEnvironment:
    from rrl_agents.environments import minatar

    return minatar.make_minatar(
        config.game,
        num_envs,
        max_episode_steps=config.max_episode_steps,
        sticky_action_probability=config.sticky_actions,
    )


def _cartpole(config: EnvironmentConfig, num_envs: int, num_threads: int) -> VectorEnvironment:
    from rrl_agents.environments import cartpole

    return cartpole.make_cartpole(num_envs, max_episode_steps=config.max_episode_steps)


def _catch(config: EnvironmentConfig, num_envs: int, num_threads: int) -> VectorEnvironment:
    from rrl_agents.environments import catch

    return catch.CatchEnvironment(
        num_envs,
        balls=config.balls,
        stack_size=config.stack_size,
        max_episode_steps=config.max_episode_steps,
    )


_Maker = Callable[[EnvironmentConfig, int, int], VectorEnvironment]

_MAKERS: Mapping[str, _Maker] = {
    "atari": _atari,
    "minatar": _minatar,
    "cartpole": _cartpole,
    "catch": _catch,
}
