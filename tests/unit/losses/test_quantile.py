"""Quantiles of returns by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rrl_agents.losses.quantile import quantile_huber_loss, quantile_q_learning_loss

LEVELS = jnp.float32([0.25, 0.75])


def test_the_regression_loss_is_the_hand_worked_one() -> None:
    # Quantiles 0 and 3, targets 0.5 and 2. Errors of 0: 0.5 and 2, huber 0.125 and 1.5, slopes
    # 1/4: mean (0.125 + 1.5) / 8 = 0.203125. Errors of 3: -2.5 and -1, huber 2 and 0.5, slopes
    # |3/4 - 1| = 1/4: mean (2 + 0.5) / 8 = 0.3125. Their sum: 0.515625.
    with jax.numpy_rank_promotion("raise"):
        loss = jax.jit(quantile_huber_loss)(
            jnp.float32([0.0, 3.0]), LEVELS, jnp.float32([0.5, 2.0])
        )
    assert loss == pytest.approx(0.515625, rel=1e-6)


def test_a_quantile_rests_where_its_share_of_the_targets_lies_below() -> None:
    # Of targets far apart at -30, -10, 10, 30, between -10 and 10 the slopes of level 1/2 balance:
    # two errors of +1 times 1/2 against two of -1 times 1/2. Level 3/4 balances between 10 and 30.
    targets = jnp.float32([-30.0, -10.0, 10.0, 30.0])
    gradient = jax.grad(quantile_huber_loss)(
        jnp.float32([0.0, 20.0]), jnp.float32([0.5, 0.75]), targets
    )
    np.testing.assert_allclose(gradient, [0.0, 0.0], atol=1e-6)


def _loss(quantiles: Any, quantiles_t: Any, q_selector: Any) -> Any:
    with jax.numpy_rank_promotion("raise"):
        return quantile_q_learning_loss(
            quantiles,
            LEVELS,
            jnp.int32(0),
            jnp.float32(1.0),
            jnp.float32(0.5),
            quantiles_t,
            q_selector,
        )


QUANTILES = jnp.float32([[0.0, 3.0], [8.0, 9.0]])
# Three of them: the target network may have more or fewer than the online network.
QUANTILES_T = jnp.float32([[5.0, 5.0, 5.0], [0.0, 2.0, 1.0]])


def test_targets_are_the_returns_from_the_chosen_action_on() -> None:
    # Action 1 is chosen: 1 + 0.5 * (0, 2, 1) = 1, 2, 1.5. Quantile 0: errors 1, 2, 1.5, huber 0.5,
    # 1.5, 1; mean 1, times 1/4. Quantile 3: errors -2, -1, -1.5, huber 1.5, 0.5, 1; mean 1, times
    # 1/4. Sum 0.5.
    assert _loss(QUANTILES, QUANTILES_T, jnp.float32([0.0, 1.0])) == pytest.approx(0.5, rel=1e-6)


def test_no_gradient_flows_into_the_target() -> None:
    gradients = jax.grad(_loss, argnums=(0, 1, 2))(QUANTILES, QUANTILES_T, jnp.float32([0.0, 1.0]))
    # Quantile 0 is pulled up by 1/4 (all errors at least 1), quantile 3 down by 1/4; the other
    # action rests.
    np.testing.assert_allclose(gradients[0], [[-0.25, 0.25], [0.0, 0.0]], atol=1e-6)
    np.testing.assert_array_equal(gradients[1], np.zeros((2, 3)))
    np.testing.assert_array_equal(gradients[2], np.zeros(2))
