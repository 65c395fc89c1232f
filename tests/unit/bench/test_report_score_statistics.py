from __future__ import annotations

import numpy as np
import pytest
from rliable import library, metrics

from services.bench.report.score_statistics import (
    estimate,
    improvement_over_teacher,
    iqm,
    share_above,
)

# Two repetitions of four games.
SCORES = np.array([[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 100.0]])


def test_the_iqm_is_the_mean_of_the_middle_half() -> None:
    # Of 0 1 2 3 4 5 6 100 the middle four are 2 3 4 5: their mean is 3.5.
    point, low, high = estimate(np.stack([SCORES, -SCORES], axis=-1), iqm, 50)
    assert point.tolist() == [3.5, -3.5]
    assert (low <= point).all()
    assert (point <= high).all()


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        # Games are strata: both repetitions of each game are alike, so no resample can differ.
        (np.array([[1.0, 2.0, 3.0, 4.0]] * 2), 2.5),
        # One repetition has no interval. The middle two of 0 1 2 3.
        (SCORES[:1], 1.5),
    ],
)
def test_runs_are_resampled_within_each_game(
    scores: np.ndarray[tuple[int, int], np.dtype[np.float64]], expected: float
) -> None:
    assert estimate(scores[..., np.newaxis], iqm, 50).tolist() == [[expected]] * 3


def test_intervals_are_the_same_every_time_and_leave_numpys_generator_alone() -> None:
    np.random.seed(7)
    expected = np.random.random(3)
    np.random.seed(7)
    one = estimate(SCORES[..., np.newaxis], iqm, 200)
    assert np.array_equal(np.random.random(3), expected)
    assert np.array_equal(one, estimate(SCORES[..., np.newaxis], iqm, 200))
    _, (low,), (high,) = one
    assert low < high


def test_the_interval_of_a_mean_covers_its_runs() -> None:
    # A quarter of the resamples of two runs is twice the lower, a quarter twice the higher.
    found = estimate(np.array([[[0.0, 1.0]], [[2.0, 1.0]]]), metrics.aggregate_mean, 500)
    assert found.tolist() == [[1.0, 1.0], [0.0, 1.0], [2.0, 1.0]]


def test_a_profile_is_the_share_of_runs_above_each_threshold() -> None:
    thresholds = np.array([-1.0, 0.0, 2.5, 100.0])
    found = share_above(thresholds)(SCORES)
    # 0 is not above 0; five of eight are above 2.5.
    assert found.tolist() == [1.0, 7 / 8, 5 / 8, 0.0]
    assert np.array_equal(found, library.score_distributions(SCORES, thresholds))


@pytest.mark.parametrize(
    ("final", "expected"),
    [
        # Game by game: both above, one above, none above, one tie (a half of one of two):
        # (1 + 1/2 + 0 + 1/4) / 4.
        ([[1.5, 1.2, 0.5, 1.0], [1.1, 0.9, 0.2, 0.3]], 0.4375),
        ([[2.0], [3.0]], 1.0),
        ([[0.0], [0.5]], 0.0),
        ([[1.0], [1.0]], 0.5),
    ],
)
def test_the_probability_of_improvement_is_rliables_over_one_run_of_the_teacher(
    final: list[list[float]], expected: float
) -> None:
    students = np.array(final)
    (found,) = improvement_over_teacher(students)
    teacher = np.ones((1, students.shape[1]))
    assert found == expected == metrics.probability_of_improvement(students, teacher)
