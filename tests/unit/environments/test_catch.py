"""Catch against its exact values, and its clocks by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_agents.environments.registry import (
    EnvironmentConfig,
    known_random_return,
    make_environment,
)
from rrl_agents.environments.vector_environment import VectorEnvironment

Observations = NDArray[np.uint8]


def _catch(num_envs: int, **settings: int) -> VectorEnvironment:
    return make_environment(EnvironmentConfig(name="catch", **settings), num_envs)


def _follow_ball(observation: Observations) -> NDArray[np.int64]:
    """Move towards the ball: the only pixel above the bottom row, else stay."""
    newest = observation[..., -1]
    ball_column = newest[:, :-1].any(axis=1).argmax(axis=1)
    has_ball = newest[:, :-1].any(axis=(1, 2))
    paddle_column = newest[:, -1].argmax(axis=1)
    return np.where(has_ball, 1 + np.sign(ball_column - paddle_column), 1)


def _episode_returns(
    environment: VectorEnvironment, policy: Callable[[Observations], NDArray[np.int64]], count: int
) -> NDArray[np.float64]:
    observation = environment.reset(0)
    totals = np.zeros(environment.num_envs)
    finished: list[float] = []
    while len(finished) < count:
        step = environment.step(policy(observation))
        totals += step.reward
        for i in np.flatnonzero(step.terminated | step.truncated):
            finished.append(totals[i])
            totals[i] = 0.0
        observation = step.observation
    return np.array(finished)


@pytest.mark.parametrize("balls", [1, 3])
def test_following_the_ball_catches_every_one(balls: int) -> None:
    returns = _episode_returns(_catch(8, balls=balls), _follow_ball, 100)
    assert set(returns) == {float(balls)}


@pytest.mark.parametrize("balls", [1, 2])
def test_random_play_returns_what_the_registry_says(balls: int) -> None:
    generator = np.random.default_rng(0)
    environment = _catch(100, balls=balls)
    returns = _episode_returns(environment, lambda _: generator.integers(0, 3, size=100), 4000)
    expected = known_random_return(EnvironmentConfig(name="catch", balls=balls))
    # A ball gives +1 with probability 1/5, else -1: mean -0.6, standard deviation 0.8. Over 4000
    # episodes the mean's is at most 0.8 * sqrt(2) / sqrt(4000) = 0.018; allow four of them.
    assert expected == pytest.approx(-0.6 * balls)
    assert returns.mean() == pytest.approx(expected, abs=0.072)


def test_an_episode_runs_by_hand() -> None:
    environment = _catch(1, stack_size=2)
    first = environment.reset(0)
    assert first.shape == (1, 10, 5, 2) and not first[..., 0].any()
    # Two pixels: the ball on the top row, the paddle in the middle of the bottom row.
    ball = int(first[0, 0, :, 1].argmax())
    assert first[0, 0, ball, 1] == 255 and first[0, 9, 2, 1] == 255
    assert np.count_nonzero(first) == 2
    # Left twice: the paddle reaches column 0; the ball falls one row per decision.
    after_one = environment.step(np.array([0]))
    np.testing.assert_array_equal(after_one.observation[..., 0], first[..., 1])
    assert after_one.observation[0, 1, ball, 1] == 255
    assert after_one.observation[0, 9, 1, 1] == 255
    for _ in range(7):
        step = environment.step(np.array([0]))
        assert step.reward[0] == 0.0 and not step.terminated[0]
    landing = environment.step(np.array([1]))  # the ninth decision: row 9
    assert landing.terminated[0] and not landing.truncated[0]
    assert landing.reward[0] == (1.0 if ball == 0 else -1.0)
    restart = environment.step(np.array([0]))
    assert restart.episode_start[0] and restart.reward[0] == 0.0
    assert restart.observation[0, 9, 2, 1] == 255  # its action was ignored
    assert not restart.observation[..., 0].any()


def test_a_limit_at_the_natural_end_is_a_termination() -> None:
    environment = _catch(1, max_episode_steps=9)
    environment.reset(0)
    steps = [environment.step(np.array([1])) for _ in range(9)]
    assert steps[-1].terminated[0] and not steps[-1].truncated[0]
