"""Scores and intervals by hand, and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from rrl_agents.scores import check_scale, mean_and_interval, normalised_score, score_if_known


@pytest.mark.parametrize(
    ("mean_return", "expected"),
    # Random -20, teacher 20, so 40 points are a score of 1.
    [(-20.0, 0.0), (20.0, 1.0), (0.0, 0.5), (-24.0, -0.1), (30.0, 1.25)],
)
def test_scores_are_linear_between_random_and_teacher(mean_return: float, expected: float) -> None:
    assert normalised_score(mean_return, -20.0, 20.0) == pytest.approx(expected)


@pytest.mark.parametrize("teacher_return", [3.0, 2.5, -3.0, math.nan])
def test_a_teacher_no_better_than_chance_is_refused(teacher_return: float) -> None:
    message = f"the teacher returns {teacher_return:g}, no more than the random policy's 3: there"
    with pytest.raises(ValueError, match=message):
        normalised_score(1.0, 3.0, teacher_return)
    with pytest.raises(ValueError, match=message):
        check_scale(3.0, teacher_return)
    assert score_if_known(1.0, 3.0, teacher_return) is None


@pytest.mark.parametrize(
    "returns",
    [(None, 0.0, 1.0), (1.0, None, 1.0), (1.0, 0.0, None), (1.0, 2.0, 2.0), (math.nan, 0.0, 1.0)],
)
def test_a_display_has_no_score_where_there_is_none(
    returns: tuple[float | None, float | None, float | None],
) -> None:
    assert score_if_known(*returns) is None


def test_a_display_has_the_same_score() -> None:
    # (-12 + 20) / (-4 + 20) = 8 / 16
    assert score_if_known(-12.0, -20.0, -4.0) == normalised_score(-12.0, -20.0, -4.0) == 0.5


def test_the_interval_is_scipys_percentile_bootstrap() -> None:
    returns = np.random.default_rng(0).normal(10.0, 4.0, size=20)
    theirs = stats.bootstrap(
        (returns,), np.mean, method="percentile", n_resamples=20_000, random_state=1
    ).confidence_interval
    mean, low, high = mean_and_interval(returns.tolist())
    assert mean == pytest.approx(returns.mean())
    # Two bootstraps differ by their resampling: some percent of the interval's width.
    assert low == pytest.approx(theirs.low, abs=0.05 * (theirs.high - theirs.low))
    assert high == pytest.approx(theirs.high, abs=0.05 * (theirs.high - theirs.low))


def test_equal_returns_leave_no_doubt() -> None:
    assert mean_and_interval([3.0, 3.0, 3.0]) == (3.0, 3.0, 3.0)


def test_the_same_returns_give_the_same_interval() -> None:
    assert mean_and_interval([1.0, 2.0, 4.0]) == mean_and_interval([1.0, 2.0, 4.0])


def test_nothing_to_average_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one episode"):
        mean_and_interval([])
