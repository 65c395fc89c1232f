"""The loss of a method: a weighted sum of terms (`term`).

The batch loss of a term that needs the teacher's answer is the mean over the rows that have one, so
unanswered rows neither add to the term nor dilute it. Rows are weighted by importance (1 for
uniform replay), terms by arrays that are arguments of the jitted step.
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
    """Sum the terms of a batch.

    Args:
        terms: The method's terms.
        seen: Their inputs; each term gets its own key, derived from the inputs' key.
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
    """Importance-weighted mean over the rows that count; 0 if there are none."""
    chex.assert_equal_shape([row_loss, importance_weight, mask])
    return jnp.sum(row_loss * importance_weight * mask) / jnp.maximum(jnp.sum(mask), 1.0)
