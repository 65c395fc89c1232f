from __future__ import annotations

import dataclasses

import pytest

from rrl_agents.environments.registry import EnvironmentConfig
from services.bench.references import random_source

TABLE = "table of the code released with Agarwal et al., 2022 (arXiv:2206.01626)"
PONG = EnvironmentConfig(name="atari", game="pong")


@pytest.mark.parametrize(
    "environment",
    [
        PONG,
        dataclasses.replace(PONG, sticky_action_probability=0.25, max_episode_steps=27_000),
    ],
)
def test_the_papers_table_is_of_dopamines_protocol(environment: EnvironmentConfig) -> None:
    assert random_source(environment) == TABLE


@pytest.mark.parametrize(
    "environment",
    [
        dataclasses.replace(PONG, sticky_action_probability=0.0),
        dataclasses.replace(PONG, max_episode_steps=500),
    ],
)
def test_the_papers_table_is_told_to_be_of_another_protocol(environment: EnvironmentConfig) -> None:
    assert random_source(environment) == (
        f"{TABLE}; of another protocol than these scores: sticky actions 0.25, episodes of up to "
        "27,000 steps"
    )


def test_a_return_that_was_given_says_so() -> None:
    given = dataclasses.replace(PONG, random_return=-20.0)
    assert random_source(given) == "given in the suite's settings"
