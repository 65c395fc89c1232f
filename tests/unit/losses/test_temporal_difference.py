"""The Q-learning loss by hand; `test_against_other_libraries` holds it against theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rrl_agents.losses.temporal_difference import n_step_q_learning_loss


def _loss(
    q: list[float], action: int, r: float, discount: float, q_t: list[float], chooser: list[float]
) -> Any:
    return n_step_q_learning_loss(
        jnp.float32(q),
        jnp.int32(action),
        jnp.float32(r),
        jnp.float32(discount),
        jnp.float32(q_t),
        jnp.float32(chooser),
    )


@pytest.mark.parametrize("transform", [jax.jit, lambda function: function])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # target 0.5 + 0.9 * max(1, 2) = 2.3; error 2.3 - 2 = 0.3; 0.3^2 / 2 = 0.045
        (([2.0, 5.0], 0, 0.5, 0.9, [1.0, 2.0]), 0.045),
        # error 2.3 - 5 = -2.7, beyond 1: 2.7 - 0.5 = 2.2
        (([2.0, 5.0], 1, 0.5, 0.9, [1.0, 2.0]), 2.2),
        # after a termination the discount is 0: error 1 - 0.5 = 0.5; 0.125
        (([0.5, 0.0], 0, 1.0, 0.0, [9.0, 9.0]), 0.125),
    ],
)
def test_the_loss_is_the_hand_worked_one(
    transform: Callable[[Any], Any], arguments: tuple[Any, ...], expected: float
) -> None:
    q, action, r, discount, q_t = arguments
    with jax.numpy_rank_promotion("raise"):
        loss = transform(n_step_q_learning_loss)(
            jnp.float32(q),
            jnp.int32(action),
            jnp.float32(r),
            jnp.float32(discount),
            jnp.float32(q_t),
            jnp.float32(q_t),
        )
    assert loss == pytest.approx(expected, rel=1e-5)


def test_double_q_learning_bootstraps_from_the_action_that_another_network_chooses() -> None:
    # The target network would choose its second action, 2.0; the chooser prefers the first, 1.0:
    # target 0.5 + 0.9 * 1 = 1.4; error 1.4 - 2 = -0.6; 0.6^2 / 2 = 0.18.
    loss = _loss([2.0, 5.0], 0, 0.5, 0.9, [1.0, 2.0], [3.0, -3.0])
    assert loss == pytest.approx(0.18, rel=1e-5)


def test_the_gradient_reaches_only_the_action_taken_and_is_clipped() -> None:
    def loss(q: Any, q_t: Any, chooser: Any) -> Any:
        return n_step_q_learning_loss(
            q, jnp.int32(1), jnp.float32(0.5), jnp.float32(0.9), q_t, chooser
        )

    q_t = jnp.float32([1.0, 2.0])
    q_gradient, *others = jax.grad(loss, argnums=(0, 1, 2))(jnp.float32([2.0, 5.0]), q_t, q_t)
    # The error is -2.7: the Huber gradient is clipped to +1 for Q(s, 1).
    np.testing.assert_allclose(q_gradient, [0.0, 1.0])
    np.testing.assert_allclose(others, [[0.0, 0.0], [0.0, 0.0]])


def test_values_of_two_different_action_sets_are_refused() -> None:
    with pytest.raises(AssertionError):
        _loss([1.0, 2.0], 0, 0.0, 0.9, [1.0, 2.0, 3.0], [1.0, 2.0, 3.0])


def test_a_batch_instead_of_one_row_is_refused() -> None:
    with pytest.raises(AssertionError):
        n_step_q_learning_loss(
            jnp.zeros((3, 2)),
            jnp.int32(0),
            jnp.float32(0),
            jnp.float32(0),
            jnp.zeros((3, 2)),
            jnp.zeros((3, 2)),
        )
