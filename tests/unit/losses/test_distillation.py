"""The distillation losses by hand; `test_against_other_libraries` has distrax."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rrl_agents.losses.distillation import (
    best_action_cross_entropy,
    distillation_loss,
    mean_squared_difference,
)


@pytest.mark.parametrize("jitted", [True, False])
def test_the_loss_is_the_hand_worked_one(jitted: bool) -> None:
    # Teacher: q / tau = (ln 3, 0), so 3/4 and 1/4. Student: equal values, so 1/2 and 1/2.
    # KL = 3/4 ln(3/4 : 1/2) + 1/4 ln(1/4 : 1/2) = 3/4 ln 1.5 - 1/4 ln 2.
    expected = 0.75 * math.log(1.5) - 0.25 * math.log(2.0)
    loss_fn = (
        jax.jit(distillation_loss, static_argnames="temperature") if jitted else (distillation_loss)
    )
    with jax.numpy_rank_promotion("raise"):
        loss = loss_fn(
            jnp.float32([7.0, 7.0]), jnp.float32([0.1 * math.log(3.0), 0.0]), temperature=0.1
        )
    assert loss == pytest.approx(expected, rel=1e-4)


def test_the_gradient_is_the_difference_of_the_policies_over_the_temperature() -> None:
    # d KL(p || softmax(s / tau)) / d s = (softmax(s / tau) - p) / tau; p = (3/4, 1/4), tau = 1.
    student_gradient, teacher_gradient = jax.grad(distillation_loss, argnums=(0, 1))(
        jnp.float32([0.0, 0.0]), jnp.float32([math.log(3.0), 0.0]), 1.0
    )
    np.testing.assert_allclose(student_gradient, [-0.25, 0.25], atol=1e-6)
    np.testing.assert_array_equal(teacher_gradient, [0.0, 0.0])


def test_logits_are_softened_by_a_temperature_of_their_own() -> None:
    # Teacher: logits / 2 = (ln 3, 0), so 3/4 and 1/4. Student: q / 0.1 = (ln 9, 0): 9/10 and 1/10.
    # KL = 3/4 ln(0.75 / 0.9) + 1/4 ln(0.25 / 0.1).
    expected = 0.75 * math.log(0.75 / 0.9) + 0.25 * math.log(2.5)
    loss = distillation_loss(
        jnp.float32([0.1 * math.log(9.0), 0.0]), jnp.float32([2 * math.log(3.0), 0.0]), 0.1, 2.0
    )
    assert loss == pytest.approx(expected, rel=1e-4)


def test_agreement_costs_nothing_whatever_the_offset() -> None:
    q = jnp.float32([0.3, -0.2, 1.0])
    assert distillation_loss(q + 5.0, q, 0.1) == pytest.approx(0.0, abs=1e-5)


def test_large_values_stay_finite() -> None:
    # A confident, wrong student: KL = (1e4 - 0) / 0.1 nats, far beyond exp's range.
    loss = distillation_loss(jnp.float32([1e4, 0.0]), jnp.float32([0.0, 1e4]), 0.1)
    assert loss == pytest.approx(1e5, rel=1e-5)


def test_values_of_two_different_action_sets_are_refused() -> None:
    arrays: tuple[Any, Any] = (jnp.zeros(2), jnp.zeros(3))
    with pytest.raises(AssertionError):
        distillation_loss(*arrays, 1.0)


def test_the_best_action_alone_is_the_cold_teachers_divergence() -> None:
    # A teacher that is cold enough puts all its mass on its best action, whose entropy is 0.
    student, teacher = jnp.float32([0.3, 0.1, -0.2]), jnp.float32([1.0, 4.0, 2.0])
    cold = distillation_loss(student, teacher, 0.1, teacher_temperature=1e-3)
    assert best_action_cross_entropy(student, teacher, 0.1) == pytest.approx(float(cold), rel=1e-5)
    # By hand: -ln(e^1 / (e^3 + e^1 + e^-2)).
    by_hand = -math.log(math.e / (math.e**3 + math.e + math.e**-2))
    assert best_action_cross_entropy(student, teacher, 0.1) == pytest.approx(by_hand, rel=1e-5)


def test_regression_on_values_is_the_mean_of_the_squares() -> None:
    # (1^2 + 0^2 + 2^2) / 3.
    loss = mean_squared_difference(jnp.float32([1.0, 2.0, 0.0]), jnp.float32([0.0, 2.0, 2.0]))
    assert loss == pytest.approx(5.0 / 3.0)


@pytest.mark.parametrize(
    "loss", [lambda s, t: best_action_cross_entropy(s, t, 0.5), mean_squared_difference]
)
def test_no_gradient_of_the_variants_flows_into_the_teacher(loss: Any) -> None:
    student, teacher = jnp.float32([0.3, 0.1]), jnp.float32([1.0, 4.0])
    assert (jax.grad(loss, argnums=1)(student, teacher) == 0.0).all()
    assert (jax.grad(loss)(student, teacher) != 0.0).all()
