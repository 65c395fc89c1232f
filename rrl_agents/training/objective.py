"""The loss of a method: a weighted sum of terms (`term`).

A term whose loss needs the teacher's answer counts the rows that have one: its batch loss is the
mean over these: an unanswered row neither adds to the term nor dilutes it. Rows are weighted
by importance (1 for uniform replay), terms by arrays that the jitted step takes as arguments.
"""

from __future__ import annotations

from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp

from rrl_agents.training.term import Term, TermInputs


def weighted_objective(
    terms: tuple[Term, ...], seen: TermInputs, weights: Mapping[str, jax.Array]
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Add up the terms of a batch.

    Args:
        terms: Of the method.
        seen: What they look at; each has a key of its own made from its key.
        weights: float32 [] for each term's name: schedule times coefficient.

    Returns:
        float32 [], the total, and float32 [] for each term's name: its unweighted batch loss.

    Raises:
        ValueError: When the weights are not those of the terms.
    """
    names = {term.name for term in terms}
    if names != set(weights):
        raise ValueError(f"weights are for {sorted(weights)}; the terms are {sorted(names)}")
    has_teacher = seen.batch.has_teacher
    losses = {
        term.name: _batch_loss(
            term.loss(seen._replace(key=jax.random.fold_in(seen.key, index))),
            seen.batch.importance_weight,
            has_teacher if term.needs_teacher else jnp.ones_like(has_teacher),
        )
        for index, term in enumerate(terms)
    }
    total = sum((weights[name] * loss for name, loss in losses.items()), start=jnp.float32(0.0))
    return total, losses


def _batch_loss(row_loss: jax.Array, importance_weight: jax.Array, mask: jax.Array) -> jax.Array:
    """Importance-weighted mean over the rows that count; 0 when none does."""
    chex.assert_equal_shape([row_loss, importance_weight, mask])
    return jnp.sum(row_loss * importance_weight * mask) / jnp.maximum(jnp.sum(mask), 1.0)
