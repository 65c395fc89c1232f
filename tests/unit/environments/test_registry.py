"""Environments by name."""

from __future__ import annotations

from typing import Any

import pytest

from rrl_agents.environments.game_names import MINATAR_GAMES
from rrl_agents.environments.registry import (
    ENVIRONMENTS,
    EnvironmentConfig,
    games,
    make_environment,
    task_name,
)


def test_a_config_builds_the_environment_it_names() -> None:
    config = EnvironmentConfig(game="Breakout", max_episode_steps=100)
    environment = make_environment(config, 2, num_threads=2)
    assert environment.num_envs == 2
    assert environment.spec.name == "breakout"
    assert environment.spec.num_actions == 4
    assert environment.spec.max_episode_steps == 100
    assert environment.spec.observation_shape == (84, 84, 4)
    environment.close()


@pytest.mark.parametrize(
    ("game", "channels", "actions"),
    # Channels of objects and minimal action sets as in Young and Tian's table of games.
    [
        ("asterix", 4, 5),
        ("breakout", 4, 3),
        ("freeway", 7, 3),
        ("seaquest", 10, 6),
        ("space_invaders", 6, 4),
    ],
)
def test_minatars_games_have_their_channels_and_actions(
    game: str, channels: int, actions: int
) -> None:
    spec = make_environment(EnvironmentConfig(name="minatar", game=game), 1).spec
    assert spec.observation_shape == (10, 10, channels, 1)
    assert (spec.num_actions, spec.frames_per_step, spec.max_episode_steps) == (actions, 1, 5_000)


def test_every_environment_names_its_games() -> None:
    assert games("minatar") == MINATAR_GAMES
    assert {"pong", "ms_pacman"} < set(games("atari"))
    assert games("catch") == games("cartpole") == ()
    assert all(kind.summary for kind in ENVIRONMENTS.values())


@pytest.mark.parametrize(
    ("name", "game", "task"),
    [
        ("atari", "MsPacman", "ms_pacman"),
        ("minatar", "SpaceInvaders", "minatar_space_invaders"),
        ("catch", "pong", "catch"),
        ("cartpole", "", "cartpole"),
    ],
)
def test_what_is_played_has_one_name(name: str, game: str, task: str) -> None:
    assert task_name(name, game) == task
    assert make_environment(EnvironmentConfig(name=name, game=game), 1).spec.name == task


@pytest.mark.parametrize(
    ("settings", "probability"),
    [
        ({}, 0.25),
        ({"name": "minatar", "game": "asterix"}, 0.1),
        ({"name": "minatar", "game": "asterix", "sticky_action_probability": 0.0}, 0.0),
        ({"name": "catch"}, 0.0),
        ({"name": "catch", "sticky_action_probability": 0.0}, 0.0),
    ],
)
def test_sticky_actions_are_the_protocols_unless_told(
    settings: dict[str, Any], probability: float
) -> None:
    assert EnvironmentConfig(**settings).sticky_actions == probability


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "atary"}, "choose one of"),
        ({"game": "pongg"}, "pong"),
        ({"game": "warlords"}, "needs two players"),
        ({"name": "minatar"}, "'pong'; choose one of asterix"),
        ({"sticky_action_probability": 1.5}, "use 0 to 1"),
        ({"sticky_action_probability": float("nan")}, "use 0 to 1"),
        ({"name": "catch", "sticky_action_probability": 0.1}, "catch has no sticky actions"),
        ({"max_episode_steps": 0}, "use 1 or more"),
        ({"random_return": float("inf")}, "use a finite number"),
        ({"name": "catch", "balls": 0}, "use 1 or more"),
        ({"name": "catch", "stack_size": 0}, "use 1 to 16"),
    ],
)
def test_an_impossible_environment_is_refused_with_what_is_allowed(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        EnvironmentConfig(**settings)


def test_at_least_one_environment_is_needed() -> None:
    with pytest.raises(ValueError, match="num_envs is 0"):
        make_environment(EnvironmentConfig(name="catch"), 0)
