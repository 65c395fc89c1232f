"""The weighted sum of terms, by hand."""

from __future__ import annotations

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


def _rows(td_losses: list[float], teacher: list[float]) -> TermInputs:
    size = len(td_losses)
    batch = batch_of((1,), 1, rows=size)._replace(teacher_outputs=jnp.float32(teacher)[:, None])
    nothing = ValueOutputs(q_values=jnp.zeros((size, 1)))
    return TermInputs(batch, nothing, nothing, jnp.float32(td_losses), jax.random.key(0))


def _objective(
    rows: TermInputs,
    has_teacher: list[float],
    importance: list[float],
    weights: dict[str, float],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    batch = rows.batch._replace(
        has_teacher=jnp.float32(has_teacher), importance_weight=jnp.float32(importance)
    )
    weights_in_arrays = {name: jnp.float32(weight) for name, weight in weights.items()}
    with jax.numpy_rank_promotion("raise"):
        return weighted_objective(TERMS, rows._replace(batch=batch), weights_in_arrays)


def test_terms_are_averaged_over_rows_and_added_by_weight() -> None:
    rows = _rows([1.0, 3.0], [10.0, 30.0])
    total, losses = _objective(rows, [1, 1], [1, 1], {"td": 1.0, "teacher": 0.5})
    # (1 + 3) / 2 = 2; (10 + 30) / 2 = 20; 2 + 0.5 * 20 = 12
    assert losses == {"td": 2.0, "teacher": 20.0}
    assert total == 12.0


def test_unanswered_rows_add_nothing_and_dilute_nothing() -> None:
    rows = _rows([1.0, 3.0], [10.0, 30.0])
    total, losses = _objective(rows, [1, 0], [1, 1], {"td": 1.0, "teacher": 1.0})
    # Only the first row was answered: 10 / 1. The other term keeps both rows: 2.
    assert losses == {"td": 2.0, "teacher": 10.0}
    assert total == 12.0


def test_a_batch_without_any_answer_has_no_teacher_loss() -> None:
    rows = _rows([1.0, 3.0], [10.0, 30.0])
    total, losses = _objective(rows, [0, 0], [1, 1], {"td": 1.0, "teacher": 1.0})
    assert losses["teacher"] == 0.0
    assert total == 2.0


def test_importance_weights_multiply_every_term() -> None:
    rows = _rows([1.0, 3.0], [10.0, 30.0])
    _, losses = _objective(rows, [1, 1], [1.0, 0.5], {"td": 1.0, "teacher": 1.0})
    # (1 + 0.5 * 3) / 2 = 1.25; (10 + 0.5 * 30) / 2 = 12.5
    assert losses == {"td": 1.25, "teacher": 12.5}


def test_a_weight_of_zero_leaves_no_gradient() -> None:
    def total(teacher: jax.Array) -> jax.Array:
        rows = _rows([1.0], [0.0])
        rows = rows._replace(batch=rows.batch._replace(teacher_outputs=teacher))
        return _objective(rows, [1], [1], {"td": 1.0, "teacher": 0.0})[0]

    np.testing.assert_array_equal(jax.grad(total)(jnp.ones((1, 1))), [[0.0]])


def test_weights_of_other_terms_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weights are for \['td'\]"):
        _objective(_rows([1.0], [1.0]), [1], [1], {"td": 1.0})


@pytest.mark.parametrize("coefficient", [-1.0, float("inf"), float("nan")])
def test_a_coefficient_must_be_a_number_from_zero(coefficient: float) -> None:
    with pytest.raises(ValueError, match="use a number at least 0"):
        Term(
            name="td",
            loss=TD_TERM.loss,
            weight=TD_TERM.weight,
            coefficient=coefficient,
        )
