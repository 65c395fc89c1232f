"""Where scores begin: the tables, measured again, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from rrl_agents.environments.game_names import MINATAR_GAMES, find_name, name_key, rom_names
from rrl_agents.environments.registry import (
    ENVIRONMENTS,
    EnvironmentConfig,
    make_environment,
    random_return,
    random_source,
)
from rrl_agents.environments.score_tables import RandomReturn, random_returns
from services.evaluator.episodes import play_episodes


@pytest.mark.parametrize(
    ("game", "expected"), [("pong", -20.7), ("Breakout", 1.7), ("beam_rider", 363.9)]
)
def test_ataris_are_those_of_the_papers_table(game: str, expected: float) -> None:
    assert random_return(EnvironmentConfig(game=game)) == expected


@pytest.mark.parametrize("name", ["atari", "minatar", "cartpole", "catch"])
def test_a_value_of_ones_own_goes_before_any_table(name: str) -> None:
    config = EnvironmentConfig(name=name, game="seaquest", random_return=0.25)
    assert random_return(config) == 0.25


@pytest.mark.parametrize(
    ("settings", "protocol"),
    [
        ({}, ""),
        ({"sticky_action_probability": 0.25, "max_episode_steps": 27_000}, ""),
        ({"sticky_action_probability": 0.0}, "of another protocol than these scores"),
        ({"max_episode_steps": 500}, "sticky actions 0.25, episodes of up to 27,000 steps"),
    ],
)
def test_the_papers_table_says_where_scores_are_of_another_protocol(
    settings: dict[str, Any], protocol: str
) -> None:
    table, _, other = random_source(EnvironmentConfig(game="pong", **settings)).partition("; ")
    assert table == "table of the code released with Agarwal et al., 2022 (arXiv:2206.01626)"
    assert protocol in other
    assert bool(other) == bool(protocol)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_environment_says_where_its_return_comes_from(name: str) -> None:
    config = EnvironmentConfig(name=name, game="seaquest")
    assert random_source(config)
    given = dataclasses.replace(config, random_return=0.25)
    assert random_source(given) == "given in the settings"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"game": "air_raid"},
            "no return of the random policy is known of 'air_raid'.*set the environment's",
        ),
        (
            {"name": "minatar", "game": "asterix", "sticky_action_probability": 0.0},
            "known of sticky_action_probability 0.1.*not of 0.0.*set the environment's",
        ),
        (
            {"name": "minatar", "game": "freeway", "max_episode_steps": 1000},
            "max_episode_steps 2501 or more, not of 0.1 and 1000",
        ),
        ({"name": "cartpole", "max_episode_steps": 50}, "not of 0.0 and 50"),
    ],
)
def test_an_unknown_one_is_refused_with_what_to_do(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        random_return(EnvironmentConfig(**settings))


def test_every_game_of_the_papers_table_exists_once() -> None:
    table = random_returns("atari")
    assert len({name_key(game) for game in table}) == len(table) == 57
    assert all(find_name(game, rom_names()) for game in table)


def test_a_limit_beyond_every_random_episode_changes_nothing() -> None:
    whole = random_return(EnvironmentConfig(name="minatar", game="Breakout"))
    assert whole == random_returns("minatar")["breakout"].mean
    limited = EnvironmentConfig(name="minatar", game="breakout", max_episode_steps=1000)
    assert random_return(limited) == whole


def _assert_measured_again(config: EnvironmentConfig, known: RandomReturn, episodes: int) -> None:
    environment = make_environment(config, 64)
    values = np.zeros((64, environment.spec.num_actions), np.float32)
    played = play_episodes(
        environment,
        lambda _: values,
        episodes=episodes,
        epsilon=1.0,
        seed=1,
        should_stop=lambda: False,
    )
    assert played is not None
    standard_error = math.hypot(
        known.standard_error, float(np.std(played.returns)) / math.sqrt(episodes)
    )
    assert abs(float(np.mean(played.returns)) - known.mean) < 4 * standard_error


def test_the_table_holds_where_episodes_are_short() -> None:
    config = EnvironmentConfig(name="minatar", game="breakout")
    _assert_measured_again(config, random_returns("minatar")["breakout"], 2_048)


@pytest.mark.slow
@pytest.mark.parametrize("game", MINATAR_GAMES)
def test_minatars_are_what_random_play_returns(game: str) -> None:
    # An episode of Freeway lasts 2,501 decisions, of the others 10 to 70.
    episodes = 256 if game == "freeway" else 4_096
    config = EnvironmentConfig(name="minatar", game=game)
    _assert_measured_again(config, random_returns("minatar")[game], episodes)


def test_cartpoles_is_what_random_play_returns() -> None:
    known = random_returns("cartpole")[""]
    _assert_measured_again(EnvironmentConfig(name="cartpole"), known, 2_048)
