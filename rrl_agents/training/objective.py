"""The loss of a method: a weighted sum of terms, each a pure function of one transition.

A term whose loss needs the teacher's answer counts the rows that have one: its batch loss is the
mean over these: an unanswered row neither adds to the term nor dilutes it. Rows are weighted
by importance (1 for uniform replay), terms by arrays that the jitted step takes as arguments.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import chex
import jax
import jax.numpy as jnp

from rrl_agents.types import Progress


class TransitionRow(NamedTuple):
    """What a term may look at: one n-step transition, or with a leading axis B a batch of them.

    Attributes:
        q_tm1: float32 [A], the student's values in the state acted in.
        a_tm1: int32 [], the action taken.
        td_loss: float32 [], what the student's algorithm makes of the row (`td_learning`).
        teacher_outputs: float32 [A], the teacher's values in the state acted in; 0 when unanswered.
    """

    q_tm1: jax.Array
    a_tm1: jax.Array
    td_loss: jax.Array
    teacher_outputs: jax.Array


class TermLoss(Protocol):
    """Loss of one transition."""

    def __call__(self, row: TransitionRow) -> jax.Array:
        """Compute the loss, float32 [], of one row without batch axis."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Term:
    """One part of a method's loss.

    Attributes:
        name: Names the term in weights and metrics, e.g. "td".
        loss: Loss of one transition.
        weight: Schedule of the term, `Progress -> [0, 1]`.
        coefficient: Fixed factor of the term beside its schedule, at least 0.
        categorical_coefficient: The same beside the cross-entropy of a categorical student; None
            for `coefficient`.
        follows_td_scale: Whether the term is to keep its balance with the TD loss of any student
            (`balanced_coefficient`); False of the TD loss itself.
        needs_teacher: Whether only rows with a teacher's answer count.
    """

    name: str
    loss: TermLoss
    weight: Callable[[Progress], float]
    coefficient: float = 1.0
    categorical_coefficient: float | None = None
    follows_td_scale: bool = True
    needs_teacher: bool = False

    def __post_init__(self) -> None:
        """Refuse a coefficient that would turn a loss around."""
        for coefficient in (self.coefficient, self.categorical_coefficient):
            if coefficient is not None and not 0.0 <= coefficient < float("inf"):
                raise ValueError(
                    f"coefficient of term {self.name!r} is {coefficient}; use a number from 0"
                )


def weighted_objective(
    terms: tuple[Term, ...],
    rows: TransitionRow,
    *,
    has_teacher: jax.Array,
    importance_weight: jax.Array,
    weights: Mapping[str, jax.Array],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Add up the terms of a batch.

    Args:
        terms: Of the method.
        rows: Batch of transitions, leading axis B.
        has_teacher: float32 [B], 1 where the teacher answered, else 0.
        importance_weight: float32 [B].
        weights: float32 [] for each term's name: schedule times coefficient.

    Returns:
        float32 [], the total, and float32 [] for each term's name: its unweighted batch loss.

    Raises:
        ValueError: When the weights are not those of the terms.
    """
    names = {term.name for term in terms}
    if names != set(weights):
        raise ValueError(f"weights are for {sorted(weights)}; the terms are {sorted(names)}")
    chex.assert_equal_shape([has_teacher, importance_weight, rows.td_loss])
    losses = {
        term.name: _batch_loss(
            jax.vmap(term.loss)(rows),
            importance_weight,
            has_teacher if term.needs_teacher else jnp.ones_like(has_teacher),
        )
        for term in terms
    }
    total = sum((weights[name] * loss for name, loss in losses.items()), start=jnp.float32(0.0))
    return total, losses


def _batch_loss(row_loss: jax.Array, importance_weight: jax.Array, mask: jax.Array) -> jax.Array:
    """Importance-weighted mean over the rows that count; 0 when none does."""
    chex.assert_equal_shape([row_loss, importance_weight, mask])
    return jnp.sum(row_loss * importance_weight * mask) / jnp.maximum(jnp.sum(mask), 1.0)
