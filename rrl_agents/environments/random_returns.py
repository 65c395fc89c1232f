"""Mean return of the uniformly random policy in an environment: the zero of its scores."""

from __future__ import annotations

from rrl_agents.environments import catch, score_tables
from rrl_agents.environments.config import EnvironmentConfig
from rrl_agents.environments.game_names import minatar_name, name_key
from rrl_agents.environments.kinds import (
    ATARI_STICKY_ACTION_PROBABILITY,
    MINATAR_STICKY_ACTION_PROBABILITY,
)
from rrl_agents.environments.score_tables import MeasuredReturn


def random_return(config: EnvironmentConfig) -> float:
    """Mean return of the uniformly random policy, undiscounted sum of raw rewards.

    The config's own value where it has one. Catch's is exact for whole episodes, Atari's comes from
    the papers' table, those of MinAtar and CartPole were measured under their own protocols.

    Raises:
        ValueError: When it is not known of this game or protocol; says how to give it.
    """
    if config.random_return is not None:
        return config.random_return
    if config.name == "catch":
        return config.balls * catch.RANDOM_RETURN_PER_BALL
    if config.name == "cartpole":
        return _measured(config, score_tables.CARTPOLE_RANDOM_RETURN)
    if config.name == "minatar":
        if config.sticky_actions != MINATAR_STICKY_ACTION_PROBABILITY:
            raise ValueError(
                "MinAtar's random-policy returns were measured with "
                f"sticky_action_probability {MINATAR_STICKY_ACTION_PROBABILITY}, not "
                f"{config.sticky_actions}: {_REMEDY}"
            )
        return _measured(config, score_tables.MINATAR_RANDOM_RETURNS[minatar_name(config.game)])
    return _of_the_papers(config.game)


def random_source(config: EnvironmentConfig) -> str:
    """Where `random_return` comes from, in words."""
    if config.random_return is not None:
        return "given in the settings"
    if config.name == "catch":
        return "exact, by arithmetic"
    if config.name != "atari":
        return "measured under this protocol (rrl_agents/environments/score_tables.py)"
    source = "table of the code released with Agarwal et al., 2022 (arXiv:2206.01626)"
    if config.sticky_actions == ATARI_STICKY_ACTION_PROBABILITY and config.max_episode_steps in (
        None,
        _PAPERS_EPISODE_STEPS,
    ):
        return source
    # The other environments refuse what was measured under another protocol.
    return (
        f"{source}; of another protocol than these scores: sticky actions "
        f"{ATARI_STICKY_ACTION_PROBABILITY}, episodes of up to {_PAPERS_EPISODE_STEPS:,} steps"
    )


_PAPERS_EPISODE_STEPS = 27_000
"""Decisions after which the papers cut an episode of Atari off."""

_REMEDY = "play the random policy yourself, and set the environment's random_return to its mean"


def _measured(config: EnvironmentConfig, measured: MeasuredReturn) -> float:
    """Holds wherever no episode of the random policy would be cut off earlier."""
    limit = config.max_episode_steps
    if limit is not None and limit < measured.longest_episode:
        raise ValueError(
            f"max_episode_steps is {limit}, but episodes of the random policy last up to "
            f"{measured.longest_episode} decisions, and its known return is that of whole ones: "
            f"use {measured.longest_episode} or more, or {_REMEDY}"
        )
    return measured.mean


def _of_the_papers(game: str) -> float:
    table = score_tables.ATARI_RANDOM_RETURNS
    by_key = {name_key(name): value for name, value in table.items()}
    value = by_key.get(name_key(game))
    if value is None:
        raise ValueError(
            f"the papers' table has no random-policy return of {game!r}, so its scores cannot be "
            f"normalised: {_REMEDY}"
        )
    return value
