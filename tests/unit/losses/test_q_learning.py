"""Q-learning losses by hand; their gradients are in `test_against_other_libraries`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrl_agents.losses.categorical import categorical_q_learning_loss, project_distribution
from rrl_agents.losses.quantile import quantile_huber_loss, quantile_q_learning_loss
from rrl_agents.losses.temporal_difference import n_step_q_learning_loss

SUPPORT = jnp.float32([-1.0, 0.0, 1.0])
LEVELS = jnp.float32([0.25, 0.75])

either_way = pytest.mark.parametrize("transform", [jax.jit, lambda function: function])
Transform = Callable[[Any], Any]


def _transition(action: int, n_step_return: float, discount: float) -> tuple[Any, Any, Any]:
    return jnp.int32(action), jnp.float32(n_step_return), jnp.float32(discount)


@either_way
@pytest.mark.parametrize(
    ("q", "transition", "q_t", "chooser", "expected"),
    [
        # target 0.5 + 0.9 * max(1, 2) = 2.3; error 2.3 - 2 = 0.3; 0.3^2 / 2 = 0.045
        ([2.0, 5.0], (0, 0.5, 0.9), [1.0, 2.0], [1.0, 2.0], 0.045),
        # error 2.3 - 5 = -2.7, beyond 1: 2.7 - 0.5 = 2.2
        ([2.0, 5.0], (1, 0.5, 0.9), [1.0, 2.0], [1.0, 2.0], 2.2),
        # after a termination the discount is 0: error 1 - 0.5 = 0.5; 0.125
        ([0.5, 0.0], (0, 1.0, 0.0), [9.0, 9.0], [9.0, 9.0], 0.125),
        # The chooser prefers the first action, 1.0: target 0.5 + 0.9 * 1 = 1.4; error 1.4 - 2 =
        # -0.6; 0.6^2 / 2 = 0.18.
        ([2.0, 5.0], (0, 0.5, 0.9), [1.0, 2.0], [3.0, -3.0], 0.18),
    ],
)
def test_the_loss_of_values_is_the_hand_worked_one(
    transform: Transform, q: Any, transition: Any, q_t: Any, chooser: Any, expected: float
) -> None:
    values = map(jnp.float32, (q_t, chooser))
    with jax.numpy_rank_promotion("raise"):
        loss = transform(n_step_q_learning_loss)(jnp.float32(q), *_transition(*transition), *values)
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shapes", [((2,), (3,)), ((3, 2), (3, 2))])
def test_two_action_sets_or_a_batch_are_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    q, q_t = map(jnp.zeros, shapes)
    with pytest.raises(AssertionError):
        n_step_q_learning_loss(q, *_transition(0, 0.0, 0.9), q_t, q_t)


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


@either_way
@pytest.mark.parametrize(
    ("student", "chooser", "discount", "expected"),
    [
        # Action 0 is chosen. Atoms 0.5 + 0.5 * (-1, 0, 1) = 0, 0.5, 1 with 1/4, 1/4, 1/2: at 0
        # there is 1/4 + 1/8 = 3/8, at 1 there is 1/8 + 1/2 = 5/8. The student: 1/2, 1/4, 1/4.
        # Cross-entropy: -(3/8 ln 1/4 + 5/8 ln 1/4) = ln 4.
        ([2.0, 1.0, 1.0], [1.0, 0.0], 0.5, 2.0),
        # Action 1 surely returns 0: an atom at 0.5, half at 0, half at 1. The student: 1/4, 1/2,
        # 1/4. -(1/2 ln 1/2 + 1/2 ln 1/4) = 3/2 ln 2.
        ([1.0, 2.0, 1.0], [0.0, 1.0], 0.5, 1.5),
        # After a termination all atoms are at 0.5, whichever action is chosen.
        ([1.0, 2.0, 1.0], [1.0, 0.0], 0.0, 1.5),
        ([1.0, 2.0, 1.0], [0.0, 1.0], 0.0, 1.5),
    ],
)
def test_the_loss_of_categorical_distributions_is_the_hand_worked_one(
    transform: Transform, student: Any, chooser: Any, discount: float, expected: float
) -> None:
    # In the state bootstrapped from, action 0 returns -1, 0, 1 with 1/4, 1/4, 1/2; action 1 surely
    # returns 0. Action 1 was taken; losses are multiples of ln 2.
    logits = jnp.log(jnp.float32([[9.0, 1.0, 1.0], student]))
    logits_t = jnp.float32([[0.0, 0.0, math.log(2.0)], [-50.0, 50.0, -50.0]])
    with jax.numpy_rank_promotion("raise"):
        loss = transform(categorical_q_learning_loss)(
            logits, *_transition(1, 0.5, discount), logits_t, jnp.float32(chooser), SUPPORT
        )
    assert loss == pytest.approx(expected * math.log(2.0), rel=1e-5)


def test_the_regression_loss_of_quantiles_is_the_hand_worked_one() -> None:
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


def test_the_targets_of_quantiles_are_the_returns_from_the_chosen_action_on() -> None:
    quantiles = jnp.float32([[0.0, 3.0], [8.0, 9.0]])
    # Three of them: the target network may have more or fewer than the online network.
    quantiles_t = jnp.float32([[5.0, 5.0, 5.0], [0.0, 2.0, 1.0]])
    # Action 1 is chosen: 1 + 0.5 * (0, 2, 1) = 1, 2, 1.5. Quantile 0: errors 1, 2, 1.5, huber 0.5,
    # 1.5, 1; mean 1, times 1/4. Quantile 3: errors -2, -1, -1.5, huber 1.5, 0.5, 1; mean 1, times
    # 1/4. Sum 0.5.
    with jax.numpy_rank_promotion("raise"):
        loss = quantile_q_learning_loss(
            quantiles, LEVELS, *_transition(0, 1.0, 0.5), quantiles_t, jnp.float32([0.0, 1.0])
        )
    assert loss == pytest.approx(0.5, rel=1e-6)
