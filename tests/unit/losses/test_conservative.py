"""CQL's penalty by hand, and as the cross-entropy it is."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rrl_agents.losses.conservative import conservative_loss


def test_equal_values_cost_the_logarithm_of_the_number_of_actions() -> None:
    with jax.numpy_rank_promotion("raise"):
        loss = conservative_loss(jnp.float32([3.0, 3.0, 3.0, 3.0]), jnp.int32(2), 0.1)
    # ln(4 exp(30)) - 30 = ln 4.
    assert loss == pytest.approx(math.log(4.0), rel=1e-5)


def test_it_is_the_cross_entropy_on_the_recorded_action() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(32, 6)).astype(np.float32)
    actions = generator.integers(0, 6, 32, dtype=np.int32)
    ours = jax.vmap(lambda q, a: conservative_loss(q, a, 0.5))(values, actions)
    expected = optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(values / 0.5), actions)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
