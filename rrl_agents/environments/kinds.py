"""What environments there are, and what a config may say of each; nothing is built here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from rrl_agents.environments import game_names

ATARI_STICKY_ACTION_PROBABILITY = 0.25
"""Probability with which the emulator repeats the last action instead of taking the new one."""

MINATAR_STICKY_ACTION_PROBABILITY = 0.1
"""The same of MinAtar."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnvironmentKind:
    """One name that an `EnvironmentConfig` may hold.

    Attributes:
        summary: What it is, in one line.
        games: Names of its games; empty where it is one game.
        game_name: The one of `games` that a spelling means; raises ValueError for others. None
            where it is one game.
        sticky_action_probability: Of its protocol; None where actions cannot be sticky.
        clips_rewards: Whether its protocol clips the rewards of training to [-1, 1].
    """

    summary: str
    games: Callable[[], tuple[str, ...]] = lambda: ()
    game_name: Callable[[str], str] | None = None
    sticky_action_probability: float | None = None
    clips_rewards: bool = False


ENVIRONMENTS: Mapping[str, EnvironmentKind] = {
    "atari": EnvironmentKind(
        summary="Atari 2600 games under Dopamine's protocol: 4 stacked gray 84x84 frames",
        games=game_names.rom_names,
        game_name=game_names.rom_name,
        sticky_action_probability=ATARI_STICKY_ACTION_PROBABILITY,
        clips_rewards=True,
    ),
    "minatar": EnvironmentKind(
        summary="MinAtar's five miniature Atari games: 10x10 grids of object channels",
        games=lambda: game_names.MINATAR_GAMES,
        game_name=game_names.minatar_name,
        sticky_action_probability=MINATAR_STICKY_ACTION_PROBABILITY,
        clips_rewards=True,
    ),
    "cartpole": EnvironmentKind(summary="Gymnasium's CartPole-v1: a vector of 4 numbers"),
    "catch": EnvironmentKind(summary="a ball to catch on a 10x5 grid, for tests and trial runs"),
}
"""The environments by name."""


def games(name: str) -> tuple[str, ...]:
    """Names of an environment's games, as configs may have them; empty where it is one game.

    Raises:
        ValueError: When there is no such environment.
    """
    return environment_kind(name).games()


def environment_kind(name: str) -> EnvironmentKind:
    """The environment of that name.

    Raises:
        ValueError: When there is none.
    """
    if name not in ENVIRONMENTS:
        raise ValueError(f"environment {name!r} is unknown; choose one of {tuple(ENVIRONMENTS)}")
    return ENVIRONMENTS[name]


def task_name(name: str, game: str) -> str:
    """What is played, in one word: "pong" (of Atari), "minatar_breakout", "cartpole".

    Args:
        name: Name of the environment.
        game: Its game in any spelling; ignored where it is one game.

    Raises:
        ValueError: When there is no such environment or game.
    """
    kind = environment_kind(name)
    if kind.game_name is None:
        return name
    known = kind.game_name(game)
    return known if name == "atari" else f"{name}_{known}"
