"""Environments that rest, beside the vector environment of the same games."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from rrl_agents.environments.vector_environment import VectorEnvironment
from services.evaluator.episodes import play_episodes
from services.evaluator.resting_environments import RestingEnvironments

NUM_ENVS = 3


@pytest.mark.parametrize(
    "config",
    [
        EnvironmentConfig(name="atari", game="pong"),
        EnvironmentConfig(name="catch"),
        EnvironmentConfig(name="minatar", game="breakout"),
    ],
    ids=lambda config: config.name,
)
def test_they_play_as_a_vector_environment_does_until_they_rest(config: EnvironmentConfig) -> None:
    random = np.random.default_rng(0)
    apart = RestingEnvironments(lambda: make_environment(config, 1), NUM_ENVS)
    together = make_environment(config, NUM_ENVS)
    with contextlib.closing(apart), contextlib.closing(together):
        for seed in (3, 4):
            np.testing.assert_array_equal(apart.reset(seed), together.reset(seed))
            for _ in range(40):
                actions = random.integers(apart.spec.num_actions, size=NUM_ENVS)
                one, other = apart.step(actions)[:5], together.step(actions)[:5]
                for mine, theirs in zip(one, other, strict=True):
                    np.testing.assert_array_equal(mine, theirs)
            apart.rest(1)
            seen = apart.step(actions)
            assert seen.reward[1] == 0.0 and seen.episode_start[1]
            expected = together.step(actions)
            for _ in range(20):
                actions = random.integers(apart.spec.num_actions, size=NUM_ENVS)
                step, expected = apart.step(actions), together.step(actions)
                np.testing.assert_array_equal(step.observation[1], seen.observation[1])
                assert not (step.terminated[1] or step.truncated[1])
                for mine, theirs in zip(step[:5], expected[:5], strict=True):
                    np.testing.assert_array_equal(mine[[0, 2]], theirs[[0, 2]])


# With 2 episodes one environment has none to play.
@pytest.mark.parametrize("episodes", [2, 4])
def test_an_evaluation_with_resting_environments_has_the_same_result_in_fewer_steps(
    episodes: int,
) -> None:
    config = EnvironmentConfig(name="gymnasium", game="CartPole-v1")
    played, steps = [], []
    apart = RestingEnvironments(lambda: make_environment(config, 1), NUM_ENVS)
    together = make_environment(config, NUM_ENVS)
    environments: tuple[RestingEnvironments | VectorEnvironment, ...] = (apart, together)
    for environment in environments:
        counts: list[int] = []
        with contextlib.closing(environment):
            played.append(
                play_episodes(
                    environment,
                    lambda states: np.stack([-states[:, 2], states[:, 2]], axis=1),
                    episodes=episodes,
                    epsilon=0.1,
                    seed=5,
                    should_stop=lambda: False,
                    on_steps=counts.append,
                    on_share=environment.rest,
                )
            )
        steps.append(sum(counts))
    resting, vector = played
    assert resting is not None and vector is not None
    assert (resting.returns, resting.steps) == (vector.returns, vector.steps)
    # Exactly the steps of the episodes that count.
    assert steps[0] == sum(resting.steps) < steps[1]
