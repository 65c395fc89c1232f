"""Environments by name."""

from __future__ import annotations

from typing import Any

import pytest

from rrl_agents.environments.registry import EnvironmentConfig, make_environment, random_return


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
    ("game", "expected"), [("pong", -20.7), ("Breakout", 1.7), ("beam_rider", 363.9)]
)
def test_random_returns_are_those_of_the_papers_table(game: str, expected: float) -> None:
    assert random_return(EnvironmentConfig(game=game)) == expected


def test_a_game_without_a_random_return_is_refused() -> None:
    with pytest.raises(ValueError, match="no random-policy return is known for 'air_raid'"):
        random_return(EnvironmentConfig(game="air_raid"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "atary"}, "choose one of"),
        ({"game": "pongg"}, "pong"),
        ({"sticky_action_probability": 1.5}, "use 0 to 1"),
        ({"max_episode_steps": 0}, "use 1 or more"),
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
