"""What holds of every environment, whatever it shows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_agents.environments.registry import ENVIRONMENTS, EnvironmentConfig, make_environment
from rrl_agents.environments.vector_environment import Step, VectorEnvironment

CONFIGS = {
    "atari": EnvironmentConfig(name="atari", game="breakout", max_episode_steps=40),
    "minatar": EnvironmentConfig(name="minatar", game="space_invaders", max_episode_steps=40),
    "gymnasium": EnvironmentConfig(name="gymnasium", game="CartPole-v1", max_episode_steps=15),
    "balloon": EnvironmentConfig(name="balloon", max_episode_steps=30),
    "catch": EnvironmentConfig(name="catch", stack_size=2, max_episode_steps=7),
}

every_environment = pytest.mark.parametrize("name", ENVIRONMENTS)


def _play(environment: VectorEnvironment, seed: int, steps: int = 90) -> list[Step]:
    """Equal random actions in all environments, the same on every call."""
    environment.reset(seed)
    actions = np.random.default_rng(0).integers(0, environment.spec.num_actions, size=steps)
    return [environment.step(np.full(environment.num_envs, action)) for action in actions]


@every_environment
def test_observations_have_the_specs_shape_and_type(name: str) -> None:
    environment = make_environment(CONFIGS[name], 3)
    spec = environment.spec
    observation = environment.reset(0)
    step = environment.step(np.zeros(3, np.int64))
    for seen in (observation, step.observation):
        assert seen.shape == (3, *spec.observation_shape)
        assert seen.dtype == spec.frame_dtype
        assert spec.newest_frames(seen).shape == (3, *spec.frame_shape)
    assert step.reward.dtype == np.float32 and step.reward.shape == (3,)
    for flags in (step.terminated, step.truncated, step.episode_start):
        assert flags.dtype == np.bool_ and flags.shape == (3,)
    environment.close()


@every_environment
def test_the_call_after_an_end_only_starts_a_new_episode(name: str) -> None:
    environment = make_environment(CONFIGS[name], 3)
    steps = _play(environment, seed=0)
    ended = np.zeros(3, bool)
    length = np.zeros(3, int)
    for step in steps:
        np.testing.assert_array_equal(step.episode_start, ended)
        assert not step.reward[ended].any()
        assert not (step.terminated & step.truncated).any()
        ended = step.terminated | step.truncated
        length = np.where(step.episode_start, 0, length + 1)
        assert length.max() <= environment.spec.max_episode_steps
        np.testing.assert_array_equal(
            step.truncated, (length == environment.spec.max_episode_steps) & ~step.terminated
        )
    assert sum(step.truncated.sum() for step in steps) > 0
    environment.close()


@every_environment
def test_equal_seeds_play_equal_games_and_seeds_are_consecutive(name: str) -> None:
    pair = _stacked(make_environment(CONFIGS[name], 2), seed=10)
    single = _stacked(make_environment(CONFIGS[name], 1), seed=11)
    np.testing.assert_array_equal(pair[:, 1], single[:, 0])
    assert (pair[:, 0] != pair[:, 1]).any()


def _stacked(environment: VectorEnvironment, seed: int) -> NDArray[np.float64]:
    steps = _play(environment, seed)
    environment.close()
    return np.stack([step.observation for step in steps])


@every_environment
def test_a_reset_starts_anew_whatever_was_played_before(name: str) -> None:
    environment = make_environment(CONFIGS[name], 2)
    first = _play(environment, seed=5)
    again = _play(environment, seed=5)
    for before, after in zip(first, again, strict=True):
        for one, other in zip(before, after, strict=True):
            np.testing.assert_equal(one, other)
    environment.close()


@every_environment
def test_observations_do_not_change_with_later_steps(name: str) -> None:
    environment = make_environment(CONFIGS[name], 2)
    kept = environment.reset(0)
    copy = kept.copy()
    for _ in range(3):
        environment.step(np.zeros(2, np.int64))
    np.testing.assert_array_equal(kept, copy)
    environment.close()


@every_environment
def test_an_action_outside_the_set_is_refused(name: str) -> None:
    environment = make_environment(CONFIGS[name], 1)
    environment.reset(0)
    for action in (-1, environment.spec.num_actions):
        with pytest.raises(ValueError, match="actions are"):
            environment.step(np.array([action]))
    environment.close()


@pytest.mark.parametrize("name", ["atari", "minatar", "gymnasium"])
def test_a_seed_that_no_generator_takes_is_refused(name: str) -> None:
    environment = make_environment(CONFIGS[name], 2)
    for seed in (-1, 2**32 - 2):
        with pytest.raises(ValueError, match="use a number at least 0 and at most"):
            environment.reset(seed)
    environment.close()


@every_environment
def test_a_step_in_two_halves_is_that_step(name: str) -> None:
    whole, halved = (make_environment(CONFIGS[name], 2) for _ in range(2))
    np.testing.assert_array_equal(whole.reset(5), halved.reset(5))
    actions = np.random.default_rng(0).integers(0, whole.spec.num_actions, (20, 2))
    for action in actions:
        halved.begin_step(action)
        for expected, found in zip(whole.step(action), halved.finish_step(), strict=True):
            np.testing.assert_equal(found, expected)
    whole.close()
    halved.close()
