"""The weighted sum of terms, by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rrl_agents.networks.outputs import ValueOutputs
from rrl_agents.training.objective import weighted_objective
from rrl_agents.training.term import Term, TermInputs
from tests.support.batches import batch_of

# Terms that read one number of each row, so that every sum can be done by head.
TD_TERM = Term(name="td", loss=lambda seen: seen.td_loss, weight=lambda progress: 1.0)
TEACHER_TERM = Term(
    name="teacher",
    loss=lambda seen: seen.batch.teacher_outputs[:, 0],
    weight=lambda progress: 1.0,
    needs_teacher=True,
)
TERMS = (TD_TERM, TEACHER_TERM)


def _objective(
    has_teacher: list[float], importance: list[float], weights: dict[str, float], teacher: Any
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Of two rows with the TD losses 1 and 3."""
    batch = batch_of((1,), 1, rows=2)._replace(
        teacher_outputs=jnp.asarray(teacher, jnp.float32)[:, None],
        has_teacher=jnp.float32(has_teacher),
        importance_weight=jnp.float32(importance),
    )
    nothing = ValueOutputs(q_values=jnp.zeros((2, 1)))
    seen = TermInputs(batch, nothing, nothing, jnp.float32([1.0, 3.0]), jax.random.key(0))
    with jax.numpy_rank_promotion("raise"):
        return weighted_objective(TERMS, seen, jax.tree.map(jnp.float32, weights))


@pytest.mark.parametrize(
    ("has_teacher", "importance", "teacher_weight", "losses", "total"),
    [
        # (1 + 3) / 2 = 2; (10 + 30) / 2 = 20; 2 + 0.5 * 20 = 12.
        ([1, 1], [1, 1], 0.5, {"td": 2.0, "teacher": 20.0}, 12.0),
        # An unanswered row adds nothing and dilutes nothing: 10 / 1. TD keeps both rows.
        ([1, 0], [1, 1], 1.0, {"td": 2.0, "teacher": 10.0}, 12.0),
        ([0, 0], [1, 1], 1.0, {"td": 2.0, "teacher": 0.0}, 2.0),
        # Importance multiplies every term: (1 + 0.5 * 3) / 2 = 1.25; (10 + 0.5 * 30) / 2 = 12.5.
        ([1, 1], [1, 0.5], 1.0, {"td": 1.25, "teacher": 12.5}, 13.75),
    ],
)
def test_terms_are_averaged_over_their_rows_and_added_by_weight(
    has_teacher: list[float],
    importance: list[float],
    teacher_weight: float,
    losses: dict[str, float],
    total: float,
) -> None:
    weights = {"td": 1.0, "teacher": teacher_weight}
    assert _objective(has_teacher, importance, weights, [10.0, 30.0]) == (total, losses)


def test_a_weight_of_zero_leaves_no_gradient() -> None:
    def total(teacher: jax.Array) -> jax.Array:
        return _objective([1, 1], [1, 1], {"td": 1.0, "teacher": 0.0}, teacher)[0]

    np.testing.assert_array_equal(jax.grad(total)(jnp.ones(2)), [0.0, 0.0])


def test_weights_of_other_terms_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weights are for \['td'\]"):
        _objective([1, 1], [1, 1], {"td": 1.0}, [1.0, 1.0])


@pytest.mark.parametrize("coefficient", [-1.0, float("inf"), float("nan")])
def test_a_coefficient_must_be_a_number_from_zero(coefficient: float) -> None:
    with pytest.raises(ValueError, match="use a number at least 0"):
        dataclasses.replace(TD_TERM, coefficient=coefficient)
