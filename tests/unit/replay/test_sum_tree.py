"""Draws from a tree of sums."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from services.replay.sum_tree import SumTree


def array(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_its_total_is_the_sum_of_all_weights() -> None:
    tree = SumTree(5)
    tree.set(array(0, 3, 4), np.array([1.0, 2.0, 4.0]))
    assert tree.total == 7.0
    tree.set(array(3), np.array([0.5]))
    assert tree.total == 5.5
    assert tree.weights(array(0, 1, 3, 4)).tolist() == [1.0, 0.0, 0.5, 4.0]


def test_of_a_place_that_is_named_twice_the_last_weight_counts() -> None:
    tree = SumTree(4)
    tree.set(array(1, 2, 1), np.array([5.0, 1.0, 3.0]))
    assert tree.weights(array(1)).tolist() == [3.0]
    assert tree.total == 4.0


def test_each_part_of_the_unit_interval_is_a_place_in_proportion_to_its_weight() -> None:
    tree = SumTree(4)
    tree.set(array(0, 1, 3), np.array([1.0, 2.0, 1.0]))
    # Of 4 in all: [0, 1/4) is place 0, [1/4, 3/4) place 1, [3/4, 1) place 3.
    drawn = tree.draw(np.array([0.0, 0.24, 0.25, 0.74, 0.75, 0.999]))
    assert drawn.tolist() == [0, 0, 1, 1, 3, 3]


@pytest.mark.parametrize("places", [1, 2, 7, 64])
def test_rounding_never_leads_to_a_place_of_weight_0(places: int) -> None:
    tree = SumTree(places)
    weights = np.zeros(places)
    weights[places // 2] = 0.1
    tree.set(np.arange(places), weights)
    just_below_1 = np.nextafter(1.0, 0.0)
    assert set(tree.draw(np.array([0.0, 0.5, just_below_1]))) == {places // 2}


def test_draws_have_the_probabilities_of_the_weights() -> None:
    random = np.random.default_rng(0)
    weights = random.random(37) ** 4
    tree = SumTree(len(weights))
    tree.set(np.arange(len(weights)), weights)
    drawn = np.bincount(tree.draw(random.random(50_000)), minlength=len(weights))
    assert stats.chisquare(drawn, weights / weights.sum() * 50_000).pvalue > 1e-4
