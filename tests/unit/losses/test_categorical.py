"""Categorical distributions over returns by hand."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrl_agents.losses.categorical import categorical_q_learning_loss, project_distribution

SUPPORT = jnp.float32([-1.0, 0.0, 1.0])


def test_an_atom_between_two_shares_its_probability_by_nearness() -> None:
    # 0.25 lies a quarter of the way from 0 to 1: 3/4 of 0.4 stay at 0, 1/4 goes to 1. The atom at
    # -1 stays, the one at 7 goes to the end: 0.5, 0.3, 0.1 + 0.1.
    with jax.numpy_rank_promotion("raise"):
        projected = project_distribution(
            jnp.float32([-1.0, 0.25, 7.0]), jnp.float32([0.5, 0.4, 0.1]), SUPPORT
        )
    np.testing.assert_allclose(projected, [0.5, 0.3, 0.2], rtol=1e-6)


_project = jax.jit(project_distribution)


@settings(deadline=None, max_examples=50)
@given(
    atoms=st.lists(st.floats(-10, 10, width=32), min_size=4, max_size=4),
    shares=st.lists(st.floats(0.015625, 1, width=32), min_size=4, max_size=4),
)
def test_the_projection_is_a_distribution_and_keeps_the_mean_of_clipped_returns(
    atoms: list[float], shares: list[float]
) -> None:
    probabilities = np.array(shares, np.float32) / np.float32(sum(shares))
    support = np.linspace(-4, 4, 11, dtype=np.float32)
    projected = _project(np.array(atoms, np.float32), probabilities, support)
    assert (np.asarray(projected) >= 0).all()
    assert np.sum(projected) == pytest.approx(1.0, abs=1e-5)
    mean = np.clip(atoms, -4, 4) @ probabilities
    assert projected @ support == pytest.approx(mean, abs=1e-4)


def _loss(logits: Any, q_selector: list[float], *, discount: float = 0.5) -> Any:
    # In the state bootstrapped from, action 0 returns -1, 0, 1 with 1/4, 1/4, 1/2; action 1 surely
    # returns 0.
    logits_t = jnp.float32([[0.0, 0.0, math.log(2.0)], [-50.0, 50.0, -50.0]])
    with jax.numpy_rank_promotion("raise"):
        return categorical_q_learning_loss(
            logits,
            jnp.int32(1),
            jnp.float32(0.5),
            jnp.float32(discount),
            logits_t,
            jnp.float32(q_selector),
            SUPPORT,
        )


@pytest.mark.parametrize("jitted", [True, False])
def test_the_loss_is_the_hand_worked_one(jitted: bool) -> None:
    # Action 0 is chosen. Atoms 0.5 + 0.5 * (-1, 0, 1) = 0, 0.5, 1 with 1/4, 1/4, 1/2: at 0 there
    # is 1/4 + 1/8 = 3/8, at 1 there is 1/8 + 1/2 = 5/8. The student: 1/2, 1/4, 1/4 for action 1.
    # Cross-entropy: -(3/8 ln 1/4 + 5/8 ln 1/4) = ln 4.
    logits = jnp.float32([[9.0, 9.0, 9.0], [math.log(2.0), 0.0, 0.0]])
    loss = (jax.jit(lambda x: _loss(x, [1.0, 0.0])) if jitted else lambda x: _loss(x, [1.0, 0.0]))(
        logits
    )
    assert loss == pytest.approx(math.log(4.0), rel=1e-5)


def test_the_action_is_the_choosers() -> None:
    # Action 1 surely returns 0: an atom at 0.5, half at 0, half at 1. With equal student atoms
    # any target costs ln 3; so give the student 1/2, 1/4, 1/4 in another order: 1/4, 1/2, 1/4.
    # -(1/2 ln 1/2 + 1/2 ln 1/4) = 3/2 ln 2.
    logits = jnp.float32([[9.0, 9.0, 9.0], [0.0, math.log(2.0), 0.0]])
    assert _loss(logits, [0.0, 1.0]) == pytest.approx(1.5 * math.log(2.0), rel=1e-5)


def test_after_a_termination_only_the_return_counts() -> None:
    # All atoms at 0.5, whichever action is chosen: as above.
    logits = jnp.float32([[9.0, 9.0, 9.0], [0.0, math.log(2.0), 0.0]])
    for chooser in ([1.0, 0.0], [0.0, 1.0]):
        assert _loss(logits, chooser, discount=0.0) == pytest.approx(1.5 * math.log(2.0), rel=1e-5)


def test_the_gradient_is_the_difference_of_the_distributions_for_the_action_taken() -> None:
    # d cross-entropy / d logits = student - target = (1/3 - 0, 1/3 - 3/8, 1/3 - 5/8).
    gradient = jax.grad(lambda x: _loss(x, [1.0, 0.0]))(jnp.zeros((2, 3)))
    np.testing.assert_allclose(gradient[0], [0.0, 0.0, 0.0])
    np.testing.assert_allclose(gradient[1], [1 / 3, 1 / 3 - 3 / 8, 1 / 3 - 5 / 8], atol=1e-6)
