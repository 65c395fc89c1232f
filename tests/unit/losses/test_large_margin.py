"""The margin losses by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from rrl_agents.losses.large_margin import max_margin_loss, mean_margin_loss

# The teacher prefers action 1.
TEACHER = jnp.float32([0.0, 5.0, 1.0])


@pytest.mark.parametrize("jitted", [True, False])
def test_both_forms_are_the_hand_worked_ones(jitted: bool) -> None:
    student = jnp.float32([2.0, 1.5, 0.25])
    # Q(a) + 1 - Q(a*): 2 + 1 - 1.5 = 1.5 for action 0, 0.25 + 1 - 1.5 = -0.25 for action 2.
    # Mean of (1.5, 0, 0): 0.5. Largest: 1.5.
    wrap = (lambda f: jax.jit(f, static_argnames="margin")) if jitted else (lambda f: f)
    with jax.numpy_rank_promotion("raise"):
        assert wrap(mean_margin_loss)(student, TEACHER, margin=1.0) == pytest.approx(0.5)
        assert wrap(max_margin_loss)(student, TEACHER, margin=1.0) == pytest.approx(1.5)


@pytest.mark.parametrize("loss", [mean_margin_loss, max_margin_loss])
def test_an_expert_action_that_leads_by_the_margin_costs_nothing(loss) -> None:  # type: ignore[no-untyped-def]
    assert loss(jnp.float32([0.0, 1.0, -3.0]), TEACHER, 1.0) == 0.0


@pytest.mark.parametrize("loss", [mean_margin_loss, max_margin_loss])
def test_the_gradient_raises_the_expert_action_and_leaves_the_teacher_alone(loss) -> None:  # type: ignore[no-untyped-def]
    student = jnp.float32([2.0, 1.5, 0.25])
    of_student, of_teacher = jax.grad(loss, argnums=(0, 1))(student, TEACHER, 1.0)
    assert of_student[0] > 0.0 > of_student[1] and of_student[2] == 0.0
    assert (of_teacher == 0.0).all()
