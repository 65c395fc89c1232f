"""Environments by name."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from rrl_agents.environments.registry import (
    ENVIRONMENTS,
    EnvironmentConfig,
    find_task,
    make_environment,
    task_name,
)


# Channels of objects and minimal action sets as in Young and Tian's table of games.
@pytest.mark.parametrize(
    ("settings", "shape", "actions", "steps", "sticky"),
    [
        # Half an hour at 60 frames per second, of which a decision lasts 4.
        ({}, (84, 84, 4), 6, 30 * 60 * 60 // 4, 0.25),
        ({"game": "Breakout", "max_episode_steps": 100}, (84, 84, 4), 4, 100, 0.25),
        ({"name": "minatar", "game": "asterix"}, (10, 10, 4), 5, 5_000, 0.1),
        ({"name": "minatar", "game": "breakout"}, (10, 10, 4), 3, 5_000, 0.1),
        ({"name": "minatar", "game": "freeway"}, (10, 10, 7), 3, 5_000, 0.1),
        ({"name": "minatar", "game": "seaquest"}, (10, 10, 10), 6, 5_000, 0.1),
        ({"name": "minatar", "game": "space_invaders"}, (10, 10, 6), 4, 5_000, 0.1),
        ({"name": "gymnasium", "game": "CartPole-v1"}, (4,), 2, 500, 0.0),
        ({"name": "balloon"}, (1_099,), 3, 960, 0.0),
        ({"name": "catch"}, (10, 5, 1), 3, 9, 0.0),
        ({"name": "catch", "balls": 2, "stack_size": 3}, (10, 5, 3), 3, 19, 0.0),
    ],
)
def test_a_config_builds_the_environment_it_names(
    settings: dict[str, Any], shape: tuple[int, ...], actions: int, steps: int, sticky: float
) -> None:
    config = EnvironmentConfig(**settings)
    environment = make_environment(config, 2, num_threads=2)
    spec = environment.spec
    assert config.sticky_actions == sticky
    assert dataclasses.replace(config, sticky_action_probability=0.0).sticky_actions == 0.0
    assert (environment.num_envs, spec.observation_shape) == (2, shape)
    assert (spec.num_actions, spec.max_episode_steps) == (actions, steps)
    assert spec.frames_per_step == (4 if config.name == "atari" else 1)
    environment.close()


@pytest.mark.parametrize(
    ("name", "game", "task"),
    [
        *(
            ("atari", game, "ms_pacman")
            for game in ("ms_pacman", "MsPacman", "mspacman", "Ms-Pacman", "ms pacman", "MS_PACMAN")
        ),
        ("minatar", "SpaceInvaders", "minatar_space_invaders"),
        ("catch", "pong", "catch"),
        ("gymnasium", "CartPole-v1", "CartPole-v1"),
    ],
)
def test_what_is_played_has_one_name(name: str, game: str, task: str) -> None:
    assert task_name(name, game) == task
    assert make_environment(EnvironmentConfig(name=name, game=game), 1).spec.name == task


@pytest.mark.parametrize(
    ("name", "game"),
    [
        ("atari", "ms_pacman"),
        ("minatar", "space_invaders"),
        ("my_arcade", "space_race"),
        ("balloon", ""),
        ("catch", ""),
        ("gymnasium", "CartPole-v1"),
        ("gymnasium", "my_package:make_env"),
    ],
)
def test_the_environment_of_a_task_is_found_by_its_name(
    name: str, game: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arcade = dataclasses.replace(ENVIRONMENTS["minatar"], games=lambda: ("space_race",))
    monkeypatch.setitem(ENVIRONMENTS, "my_arcade", arcade)
    assert find_task(task_name(name, game)) == (name, game)
    # As papers write it.
    assert find_task("SpaceInvaders") == ("atari", "space_invaders")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "atary"}, "choose one of"),
        ({"game": "Pongg"}, r"'Pongg'; the nearest names are pong\b"),
        ({"game": "MazeCraze"}, "no game for one player is called 'MazeCraze'"),
        ({"name": "minatar"}, "'pong'.*(asterix|breakout|freeway|seaquest|space_invaders|, ){9}$"),
        ({"sticky_action_probability": 1.5}, "at least 0 and at most 1"),
        ({"sticky_action_probability": float("nan")}, "at least 0 and at most 1"),
        ({"name": "catch", "sticky_action_probability": 0.1}, "catch has no sticky actions"),
        ({"max_episode_steps": 0}, "at least 1"),
        ({"random_return": float("inf")}, "use a number that is finite"),
        ({"name": "catch", "balls": 0}, "at least 1"),
        ({"name": "catch", "grayscale": True}, "grayscale and resize are for images of gymnasium"),
        ({"resize": (4, 4)}, "atari has a protocol of its own: leave them out"),
        ({"name": "gymnasium", "resize": (0, 4)}, "at least 1"),
        ({"name": "catch", "stack_size": 0}, "at least 1 and at most 16"),
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
