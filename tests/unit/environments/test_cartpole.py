"""CartPole against Gymnasium's own environment."""

from __future__ import annotations

import gymnasium
import numpy as np

from rrl_agents.environments.registry import EnvironmentConfig, make_environment


def test_states_rewards_and_ends_equal_gymnasiums() -> None:
    """Two carts of ours are `CartPole-v1` with seeds 3 and 4, over several episodes."""
    theirs = [gymnasium.make("CartPole-v1") for _ in range(2)]
    ours = make_environment(EnvironmentConfig(name="cartpole"), 2)
    observation = ours.reset(3)
    expected = [environment.reset(seed=3 + i)[0] for i, environment in enumerate(theirs)]
    random, episodes = np.random.default_rng(0), 0
    for _ in range(200):
        np.testing.assert_array_equal(observation, np.stack(expected))
        action = random.integers(0, 2, size=2)
        step = ours.step(action)
        for i, environment in enumerate(theirs):
            if step.episode_start[i]:
                expected[i], _ = environment.reset()
                assert step.reward[i] == 0.0
            else:
                expected[i], reward, terminated, truncated, _ = environment.step(int(action[i]))
                assert (step.reward[i], step.terminated[i]) == (reward, terminated)
                assert step.truncated[i] == truncated
        episodes += int(step.terminated.sum())
        observation = step.observation
    assert episodes >= 6
    for environment in theirs:
        environment.close()
