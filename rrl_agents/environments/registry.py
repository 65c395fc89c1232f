"""Environments by name: what a run's config says, and what an actor or evaluator plays."""

from __future__ import annotations

import dataclasses

from rrl_agents.environments import atari, catch, score_tables
from rrl_agents.environments.game_names import name_key, nearest_names, rom_name
from rrl_agents.environments.interface import VectorEnvironment

ENVIRONMENTS = ("atari", "catch")
"""Names an `EnvironmentConfig` may hold."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnvironmentConfig:
    """What is played.

    Attributes:
        name: "atari", or "catch" for tests and trial runs.
        game: Atari game in snake_case or CamelCase; "catch" has no games and ignores it.
        max_episode_steps: Decisions after which an episode is cut off; None for the environment's
            own limit (Atari: 27,000; Catch: none).
        sticky_action_probability: Probability that Atari repeats the last action, in [0, 1]; 0.25
            is the protocol of the papers.
        balls: Balls per episode of Catch.
        stack_size: Frames in one observation of Catch; Atari always stacks 4.
    """

    name: str = "atari"
    game: str = "pong"
    max_episode_steps: int | None = None
    sticky_action_probability: float = atari.STICKY_ACTION_PROBABILITY
    balls: int = 1
    stack_size: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be played."""
        if self.name not in ENVIRONMENTS:
            raise ValueError(f"environment {self.name!r} is unknown; choose one of {ENVIRONMENTS}")
        if self.name == "atari":
            rom_name(self.game)
        if not 0.0 <= self.sticky_action_probability <= 1.0:
            raise ValueError(
                f"sticky_action_probability is {self.sticky_action_probability}; use 0 to 1"
            )
        if self.max_episode_steps is not None and self.max_episode_steps < 1:
            raise ValueError(f"max_episode_steps is {self.max_episode_steps}; use 1 or more")
        if self.balls < 1:
            raise ValueError(f"balls is {self.balls}; use 1 or more")
        if not 1 <= self.stack_size <= 16:
            raise ValueError(f"stack_size is {self.stack_size}; use 1 to 16")


def make_environment(
    config: EnvironmentConfig, num_envs: int, *, num_threads: int = 1
) -> VectorEnvironment:
    """Build N environments.

    Args:
        config: What is played.
        num_envs: Number of environments N, at least 1.
        num_threads: Threads of Atari's emulators, at least 1; Catch needs none.

    Raises:
        ValueError: When a number is not positive.
    """
    if num_envs < 1 or num_threads < 1:
        raise ValueError(f"num_envs is {num_envs}, num_threads {num_threads}; use 1 or more")
    if config.name == "catch":
        return catch.CatchEnvironment(
            num_envs,
            balls=config.balls,
            stack_size=config.stack_size,
            max_episode_steps=config.max_episode_steps,
        )
    limit = config.max_episode_steps
    return atari.AtariEnvironment(
        config.game,
        num_envs,
        num_threads=num_threads,
        max_episode_steps=atari.MAX_EPISODE_STEPS if limit is None else limit,
        sticky_action_probability=config.sticky_action_probability,
    )


def random_return(config: EnvironmentConfig) -> float:
    """Mean return of the uniformly random policy, undiscounted sum of raw rewards.

    Catch's value is exact for whole episodes; Atari's comes from the papers' table.

    Raises:
        ValueError: When the table has no such game.
    """
    if config.name == "catch":
        return config.balls * catch.RANDOM_RETURN_PER_BALL
    table = score_tables.ATARI_RANDOM_RETURNS
    by_key = {name_key(game): value for game, value in table.items()}
    value = by_key.get(name_key(config.game))
    if value is None:
        raise ValueError(
            f"no random-policy return is known for {config.game!r}, so its scores cannot be "
            f"normalised; games with one are named like {nearest_names(config.game, table)}"
        )
    return value
