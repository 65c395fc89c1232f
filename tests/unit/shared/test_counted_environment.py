from __future__ import annotations

import numpy as np

from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from services.shared.counted_environment import CountedEnvironment

ROWS = 10
"""A ball of Catch falls for 9 steps; the call after resets."""


def test_steps_and_whole_episodes_are_told_as_they_were_played() -> None:
    steps: list[int] = []
    returns: list[float] = []
    bare = make_environment(EnvironmentConfig(name="catch"), 3)
    counted = CountedEnvironment(
        make_environment(EnvironmentConfig(name="catch"), 3), steps.append, returns.append
    )
    assert counted.spec == bare.spec and counted.num_envs == 3
    np.testing.assert_array_equal(counted.reset(7), bare.reset(7))
    random, rewards = np.random.default_rng(0), []
    for _ in range(25):
        action = random.integers(0, 3, 3)
        mine, theirs = counted.step(action), bare.step(action)
        np.testing.assert_array_equal(mine.observation, theirs.observation)
        # Catch pays once, at the end of an episode: that is its return.
        rewards += [float(theirs.reward[env]) for env in np.flatnonzero(theirs.terminated)]
    # 25 calls: 9 steps and a reset, twice, and 5 steps; so two whole episodes each.
    assert sum(steps) == 3 * (9 + 9 + 5)
    assert returns == rewards and len(returns) == 3 * 2
    counted.close()
    bare.close()


def test_an_episode_broken_off_by_a_reset_is_forgotten() -> None:
    returns: list[float] = []
    counted = CountedEnvironment(
        make_environment(EnvironmentConfig(name="catch"), 1), lambda _: None, returns.append
    )
    counted.reset(0)
    for _ in range(8):
        counted.step(np.zeros(1, np.int64))
    counted.reset(0)
    for _ in range(ROWS - 1):
        counted.step(np.zeros(1, np.int64))
    assert len(returns) == 1 and abs(returns[0]) == 1.0
    counted.close()
