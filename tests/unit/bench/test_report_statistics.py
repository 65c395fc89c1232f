from __future__ import annotations

import numpy as np
import pytest
from rliable import library, metrics

from services.bench.report.statistics import (
    improvement_over_teacher,
    iqm_curve,
    mean_curve,
    performance_profile,
)

# Two repetitions of four games.
SCORES = np.array([[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 100.0]])


def test_the_iqm_is_the_mean_of_the_middle_half() -> None:
    curve = np.stack([SCORES, -SCORES], axis=-1)
    found = iqm_curve(curve, resamples=50)
    # Of 0 1 2 3 4 5 6 100 the middle four are 2 3 4 5: their mean is 3.5.
    assert found.point.tolist() == [3.5, -3.5]
    assert (found.low <= found.point).all()
    assert (found.point <= found.high).all()


def test_games_are_strata_that_keep_their_own_runs() -> None:
    # Both repetitions of each game are alike: no resample can differ.
    scores = np.array([[1.0, 2.0, 3.0, 4.0]] * 2)[..., np.newaxis]
    found = iqm_curve(scores, resamples=50)
    assert found.low.tolist() == found.point.tolist() == found.high.tolist() == [2.5]


def test_one_repetition_has_no_interval() -> None:
    found = iqm_curve(SCORES[:1, :, np.newaxis], resamples=50)
    # The middle two of 0 1 2 3.
    assert found.rows() == [(1.5, 1.5, 1.5)]


def test_intervals_are_the_same_every_time_and_nobody_elses_randomness_is_touched() -> None:
    np.random.seed(7)
    expected = np.random.random(3)
    np.random.seed(7)
    one = iqm_curve(SCORES[..., np.newaxis], resamples=200)
    assert np.array_equal(np.random.random(3), expected)
    other = iqm_curve(SCORES[..., np.newaxis], resamples=200)
    assert one.rows() == other.rows()
    (_, low, high) = one.rows()[0]
    assert low < high


def test_the_interval_of_a_mean_covers_its_runs() -> None:
    found = mean_curve(np.array([[0.0, 1.0], [2.0, 1.0]]), resamples=500)
    assert found.point.tolist() == [1.0, 1.0]
    # A quarter of the resamples of two runs is twice the lower, a quarter twice the higher.
    assert (found.low.tolist(), found.high.tolist()) == ([0.0, 1.0], [2.0, 1.0])


def test_a_profile_is_the_share_of_runs_above_each_threshold() -> None:
    thresholds = np.array([-1.0, 0.0, 2.5, 100.0])
    found = performance_profile(SCORES, thresholds, resamples=50)
    # 0 is not above 0; five of eight are above 2.5.
    assert found.point.tolist() == [1.0, 7 / 8, 5 / 8, 0.0]
    assert np.array_equal(found.point, library.score_distributions(SCORES, thresholds))


def test_the_probability_of_improvement_is_the_share_of_runs_above_the_teacher() -> None:
    # Game by game: both above, one above, none above, one tie (a half of one of two).
    final = np.array([[1.5, 1.2, 0.5, 1.0], [1.1, 0.9, 0.2, 0.3]])
    found = improvement_over_teacher(final, resamples=100)
    # (1 + 1/2 + 0 + 1/4) / 4
    assert found.point.tolist() == [0.4375]
    assert found.point[0] == metrics.probability_of_improvement(final, np.ones((1, 4)))
    ((_, low, high),) = found.rows()
    assert 0.0 <= low <= 0.4375 <= high <= 1.0


@pytest.mark.parametrize(("scores", "probability"), [([2.0, 3.0], 1.0), ([0.0, 0.5], 0.0)])
def test_runs_all_on_one_side_are_certain(scores: list[float], probability: float) -> None:
    found = improvement_over_teacher(np.array(scores)[:, np.newaxis], resamples=20)
    assert found.rows() == [(probability, probability, probability)]
