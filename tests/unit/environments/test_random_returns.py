"""Where scores begin: the table, measured again, and what is not in it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from rrl_agents.environments.game_names import MINATAR_GAMES, find_name, name_key, rom_names
from rrl_agents.environments.registry import (
    ENVIRONMENTS,
    EnvironmentConfig,
    known_random_return,
    make_environment,
    random_source,
)
from rrl_agents.environments.score_tables import random_returns
from services.evaluator.episodes import play_episodes

PAPER = "table of the code released with Agarwal et al., 2022 (arXiv:2206.01626)"
OTHER = (
    f"{PAPER}; of another protocol than these scores: sticky actions 0.25, episodes of up to "
    "27,000 steps"
)
BREAKOUT = {"name": "minatar", "game": "Breakout"}
CARTPOLE = {"name": "gymnasium", "game": "CartPole-v1"}


@pytest.mark.parametrize(
    ("settings", "expected", "source"),
    [
        ({"game": "pong"}, -20.7, PAPER),
        ({"game": "beam_rider", "sticky_action_probability": 0.25}, 363.9, PAPER),
        ({"game": "Breakout", "max_episode_steps": 27_000}, 1.7, PAPER),
        ({"game": "pong", "sticky_action_probability": 0.0}, -20.7, OTHER),
        ({"game": "pong", "max_episode_steps": 500}, -20.7, OTHER),
        (BREAKOUT, 0.3796, "measured"),
        # Beyond every random episode.
        ({**BREAKOUT, "max_episode_steps": 1000}, 0.3796, "measured"),
        (CARTPOLE, 22.263, "measured"),
        ({"name": "catch", "balls": 2}, -1.2, "exact"),
        *(
            ({"name": name, "game": "seaquest", "random_return": 0.25}, 0.25, "given in the")
            for name in ENVIRONMENTS
        ),
    ],
)
def test_a_return_is_known_and_where_it_comes_from(
    settings: dict[str, Any], expected: float, source: str
) -> None:
    config = EnvironmentConfig(**settings)
    assert known_random_return(config) == expected
    found = random_source(config)
    assert found == source if source in (PAPER, OTHER) else found.startswith(source)


@pytest.mark.parametrize(
    "settings",
    [
        {"game": "air_raid"},
        {**BREAKOUT, "sticky_action_probability": 0.0},
        # An episode of random play lasts up to 2,501 decisions.
        {"name": "minatar", "game": "freeway", "max_episode_steps": 1000},
        {**CARTPOLE, "max_episode_steps": 50},
        {"name": "gymnasium", "game": "LunarLander-v3"},
    ],
)
def test_that_of_another_game_or_protocol_is_not_known(settings: dict[str, Any]) -> None:
    assert known_random_return(EnvironmentConfig(**settings)) is None


def test_every_game_of_the_papers_table_exists_once() -> None:
    table = random_returns("atari")
    assert len({name_key(game) for game in table}) == len(table) == 57
    assert all(find_name(game, rom_names()) for game in table)


@pytest.mark.parametrize(
    ("name", "game", "episodes"),
    [
        ("gymnasium", "CartPole-v1", 2_048),
        ("minatar", "breakout", 2_048),
        # An episode of Freeway lasts 2,501 decisions, of the others 10 to 70.
        *(
            pytest.param(
                "minatar", game, 256 if game == "freeway" else 4_096, marks=pytest.mark.slow
            )
            for game in MINATAR_GAMES
        ),
    ],
)
def test_the_table_holds_what_random_play_returns(name: str, game: str, episodes: int) -> None:
    environment = make_environment(EnvironmentConfig(name=name, game=game), 64)
    known, values = random_returns(name)[game], np.zeros((64, environment.spec.num_actions))
    played = play_episodes(
        environment,
        lambda _: values.astype(np.float32),
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
