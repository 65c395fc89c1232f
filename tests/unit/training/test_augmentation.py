"""Shifts and brightness by what they may and may not change."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rrl_agents.students.config import StudentConfig, check_shiftable
from rrl_agents.training.augmentation import (
    augmented,
    random_intensity,
    random_shift,
)


def test_every_shift_up_to_the_largest_is_drawn_and_edges_fill_the_gap() -> None:
    # Pixels say where they come from: 10 * row + column, in a second channel 100 more.
    image = np.add.outer(10 * np.arange(5), np.arange(6)).astype(np.uint8)
    image = np.stack([image, image + 100], axis=-1)
    shifted = np.asarray(
        jax.jit(random_shift, static_argnums=1)(
            np.tile(image, (300, 1, 1, 1)), 2, jax.random.key(0)
        )
    )
    assert shifted.dtype == np.uint8 and shifted.shape == (300, 5, 6, 2)
    # All 5 * 5 shifts, each with probability 1/25: 300 draws miss a given one with 5e-6.
    candidates = {}
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            rows = np.clip(np.arange(5) + dy, 0, 4)
            columns = np.clip(np.arange(6) + dx, 0, 5)
            candidates[image[rows][:, columns].tobytes()] = (dy, dx)
    found = [candidates[row.tobytes()] for row in shifted]
    assert len(set(found)) == 25


@pytest.mark.parametrize("shape", [(7, 5, 4), (7, 5, 3, 1), (7, 5, 3, 2)])
def test_images_of_any_rank_keep_their_shape_and_type(shape: tuple[int, ...]) -> None:
    states = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    shifted = augmented(jnp.asarray(states), StudentConfig(random_shift=4), jax.random.key(0))
    assert shifted.shape == states.shape and shifted.dtype == jnp.uint8


def test_brightness_is_one_factor_for_each_state() -> None:
    states = np.full((4000, 2, 2, 1), 51, np.uint8)  # 0.2
    with jax.numpy_rank_promotion("raise"):
        dimmed = np.asarray(random_intensity(jnp.asarray(states), 0.05, jax.random.key(0)))
    assert dimmed.dtype == np.float32
    factors = dimmed[:, 0, 0, 0] / 0.2
    np.testing.assert_allclose(
        dimmed / 0.2, np.broadcast_to(factors[:, None, None, None], (4000, 2, 2, 1))
    )
    # 1 + 0.05 * draws cut off at two deviations; 2.3% of the draws lie beyond each end.
    assert factors.min() == pytest.approx(0.9, abs=1e-5)
    assert factors.max() == pytest.approx(1.1, abs=1e-5)
    # The deviation of a draw is below 1: of the mean of 4,000 factors below 0.05 / 63 = 0.0008.
    assert factors.mean() == pytest.approx(1.0, abs=0.004)


def test_floats_are_dimmed_from_what_they_are() -> None:
    states = jnp.full((8, 3, 1), 2.0)
    dimmed = np.asarray(random_intensity(states, 0.05, jax.random.key(0)))
    assert (np.abs(dimmed - 2.0) <= 0.2001).all() and (dimmed != 2.0).all()


def test_without_settings_states_stay_what_they_are() -> None:
    states = jnp.arange(24, dtype=jnp.uint8).reshape(2, 3, 4, 1)
    np.testing.assert_array_equal(augmented(states, StudentConfig(), jax.random.key(0)), states)


def test_shifting_vectors_is_refused_with_advice() -> None:
    student = StudentConfig(random_shift=4)
    with pytest.raises(ValueError, match=r"shape \(4, 1\) are not images; set it to 0"):
        check_shiftable(student, (4, 1))
    with pytest.raises(ValueError, match="set it to 0"):
        augmented(jnp.zeros((2, 4, 1)), student, jax.random.key(0))
    check_shiftable(StudentConfig(), (4, 1))
    check_shiftable(student, (10, 10, 4, 1))
