from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rrl_agents.environments import catch
from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from rrl_agents.environments.vector_environment import Step
from rrl_agents.types import EnvironmentSpec
from services.evaluator.episodes import ActionValues, PlayedEpisodes, play_episodes, shares

CATCH = EnvironmentConfig(name="catch")


class FixedLengths:
    """Environment i plays episodes of `lengths[i]` steps with a reward of 1 each, then resets."""

    def __init__(self, lengths: tuple[int, ...], *, cut_off: bool = False) -> None:
        self._lengths = np.asarray(lengths)
        self._cut_off = cut_off
        self._steps = np.zeros(len(lengths), np.int64)
        self.calls = 0
        self.spec = EnvironmentSpec(
            name="fixed lengths",
            frame_shape=(1, 1),
            stack_size=1,
            num_actions=2,
            frames_per_step=1,
            max_episode_steps=max(lengths),
        )

    @property
    def num_envs(self) -> int:
        return len(self._lengths)

    def reset(self, seed: int) -> NDArray[np.uint8]:
        self._steps[:] = 0
        return self._observations()

    def step(self, action: NDArray[np.int64]) -> Step:
        self.calls += 1
        starts = self._steps == self._lengths
        self._steps = np.where(starts, 0, self._steps + 1)
        ended = self._steps == self._lengths
        nowhere = np.zeros_like(ended)
        return Step(
            observation=self._observations(),
            # A reward on the call that only resets belongs to no episode.
            reward=np.ones(self.num_envs, np.float32),
            terminated=nowhere if self._cut_off else ended,
            truncated=ended if self._cut_off else nowhere,
            episode_start=starts,
        )

    def close(self) -> None:
        pass

    def _observations(self) -> NDArray[np.uint8]:
        return self._steps.astype(np.uint8).reshape(-1, 1, 1, 1)


def perfect(observations: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Towards the column of the ball: value 1 for that move, 0 for the others."""
    ball = observations[:, :-1, :, -1].max(axis=1).argmax(axis=1)
    paddle = observations[:, -1, :, -1].argmax(axis=1)
    moves = np.sign(ball - paddle) + 1
    values: NDArray[np.float32] = (moves[:, np.newaxis] == np.arange(3)).astype(np.float32)
    return values


def always_left(observations: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.tile(np.asarray([1, 0, 0], np.float32), (len(observations), 1))


def zeros(observations: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.zeros((len(observations), 2), np.float32)


def play(
    environment: Any,
    values: ActionValues,
    *,
    episodes: int,
    epsilon: float = 0.0,
    seed: int = 0,
    **listeners: Any,
) -> PlayedEpisodes:
    played = play_episodes(
        environment,
        values,
        episodes=episodes,
        epsilon=epsilon,
        seed=seed,
        should_stop=lambda: False,
        **listeners,
    )
    assert played is not None
    return played


@given(st.integers(0, 10_000), st.integers(1, 300))
def test_shares_are_as_even_as_can_be_and_sum_to_the_episodes(episodes: int, num_envs: int) -> None:
    of_each = shares(episodes, num_envs)
    assert of_each.shape == (num_envs,)
    assert of_each.sum() == episodes
    assert of_each.max() - of_each.min() <= 1
    # Environment 0, whose first episode is filmed, always plays.
    assert of_each[0] == of_each.max()


@pytest.mark.parametrize("cut_off", [False, True])
def test_short_episodes_are_not_counted_more_often_than_long_ones(cut_off: bool) -> None:
    environment = FixedLengths((1, 7), cut_off=cut_off)
    steps: list[int] = []
    ends: list[None] = []
    played = play(
        environment,
        zeros,
        episodes=5,
        on_steps=steps.append,
        on_episode=lambda: ends.append(None),
    )
    # Shares 3 and 2. The first five episodes to finish would have been 1, 1, 1, 1, 7.
    assert played.returns == (1.0, 1.0, 1.0, 7.0, 7.0)
    assert played.steps == (1, 1, 1, 7, 7)
    # Environment 1 decides the end: 7 steps, one call that resets, 7 steps.
    assert environment.calls == 15
    # Environment 0 plays on beyond its share, in every other call; no call that resets is a step.
    assert sum(steps) == 8 + 14
    assert len(ends) == 8 + 2


def test_the_perfect_policy_catches_every_ball() -> None:
    played = play(make_environment(CATCH, 20), perfect, episodes=100)
    assert played.returns == (1.0,) * 100
    assert played.steps == (catch.ROWS - 1,) * 100


def test_epsilon_1_plays_the_random_policy() -> None:
    played = play(make_environment(CATCH, 100), perfect, episodes=2000, epsilon=1.0)
    # Returns are +1 with probability 1/5, else -1: mean -0.6, standard deviation 0.8.
    assert abs(np.mean(played.returns) + 0.6) < 5 * 0.8 / np.sqrt(2000)


def test_without_exploration_the_seed_decides_everything() -> None:
    once, again, otherwise = (
        play(make_environment(CATCH, 20), always_left, episodes=60, seed=seed) for seed in (3, 3, 4)
    )
    assert once.returns == again.returns
    assert once.returns != otherwise.returns
    np.testing.assert_array_equal(once.first_episode_frames, again.first_episode_frames)


def test_an_evaluation_stops_when_told_and_gives_nothing() -> None:
    environment = FixedLengths((100,))
    looks = iter([False, False, False, True])
    played = play_episodes(
        environment,
        zeros,
        episodes=1,
        epsilon=0.0,
        seed=0,
        should_stop=lambda: next(looks),
    )
    assert played is None
    assert environment.calls == 3


def test_the_film_is_the_whole_first_episode_of_environment_0() -> None:
    played = play(FixedLengths((4, 9)), zeros, episodes=4)
    # The first observation and one after each of the 4 steps; a pixel holds the step's number.
    assert [int(frame[0, 0]) for frame in played.first_episode_frames] == [0, 1, 2, 3, 4]


class Judged(FixedLengths):
    """Has 1 on every step that leaves an even number of steps behind it, also where it resets."""

    def step(self, action: NDArray[np.int64]) -> Step:
        step = super().step(action)
        return step._replace(metrics={"even": (self._steps % 2 == 0).astype(np.float64)})


def test_a_metric_of_an_episode_is_the_mean_over_its_own_steps() -> None:
    # Three steps: 1, 2, 3, of which one is even; four: 2 of 4. The call that resets is not a step.
    played = play_episodes(
        Judged((3, 4)),  # type: ignore[arg-type]
        lambda observations: np.zeros((2, 2), np.float32),
        episodes=4,
        epsilon=0.0,
        seed=0,
        should_stop=lambda: False,
    )
    assert played is not None and played.steps == (3, 3, 4, 4)
    assert played.metrics == {"even": pytest.approx((1 / 3, 1 / 3, 0.5, 0.5))}


def test_an_environment_without_metrics_has_none() -> None:
    played = play_episodes(
        FixedLengths((3,)),  # type: ignore[arg-type]
        lambda observations: np.zeros((1, 2), np.float32),
        episodes=1,
        epsilon=0.0,
        seed=0,
        should_stop=lambda: False,
    )
    assert played is not None and played.metrics == {}
