from __future__ import annotations

import math

import numpy as np
import pytest
from dopamine.replay_memory.prioritized_replay_buffer import OutOfGraphPrioritizedReplayBuffer
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from services.replay.samples import importance_weights

LOSSES = np.asarray([0.04, 0.16, 0.64, 1.0])


def relative_probabilities(losses: np.ndarray) -> np.ndarray:
    """N p, p being in proportion to the root of the loss."""
    priorities = np.sqrt(losses)
    return len(losses) * priorities / priorities.sum()


def test_the_least_likely_row_weighs_1_and_the_others_by_the_root_of_their_odds() -> None:
    weights = importance_weights(relative_probabilities(LOSSES), 0.5)
    # Priorities 0.2, 0.4, 0.8, 1: odds 1, 2, 4, 5 times the least likely one's.
    expected = [1, 1 / math.sqrt(2), 1 / 2, 1 / math.sqrt(5)]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert weights.dtype == np.float32


def test_weights_are_those_of_dopamines_rainbow_on_its_own_buffer() -> None:
    buffer = OutOfGraphPrioritizedReplayBuffer(
        observation_shape=(2, 2), stack_size=1, replay_capacity=10, batch_size=4
    )
    for _ in LOSSES:
        buffer.add(np.zeros((2, 2), np.uint8), 0, 0.0, 0, priority=1.0)
    indices = np.arange(4, dtype=np.int32)
    buffer.set_priority(indices, np.sqrt(LOSSES + 1e-10))
    # As in dopamine.jax.agents.full_rainbow.full_rainbow_agent, _training_step_update.
    probs = buffer.get_priority(indices)
    loss_weights = 1.0 / np.sqrt(probs + 1e-10)
    loss_weights /= np.max(loss_weights)
    weights = importance_weights(relative_probabilities(LOSSES), 0.5)
    np.testing.assert_allclose(weights, loss_weights, rtol=1e-6)


def test_rows_drawn_uniformly_weigh_as_an_item_of_average_probability() -> None:
    # Two rows of the teacher's table, N p = 1, beside two of the student's, half and twice as
    # likely as its average item: weights 2, 1 and 1/2 at an exponent of 1, over their maximum 2.
    weights = importance_weights(np.asarray([1.0, 1.0, 0.5, 2.0]), 1.0)
    np.testing.assert_allclose(weights, [0.5, 0.5, 1.0, 0.25])


def test_an_exponent_of_0_weighs_all_rows_alike() -> None:
    assert importance_weights(np.asarray([0.1, 1.0, 7.0]), 0.0).tolist() == [1.0, 1.0, 1.0]


def test_draws_from_a_table_whose_priorities_are_all_0_weigh_alike() -> None:
    # Reverb then draws, and says that the probability was 0.
    assert importance_weights(np.zeros(3), 0.5).tolist() == [1.0, 1.0, 1.0]


@given(
    hypothesis_numpy.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1e9)),
    st.floats(0, 1),
)
def test_weights_lie_above_0_and_the_largest_is_1(
    relative_probability: np.ndarray, exponent: float
) -> None:
    weights = importance_weights(relative_probability, exponent)
    assert weights.max() == pytest.approx(1.0)
    assert (weights > 0).all()
