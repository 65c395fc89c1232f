"""The outputs of networks by head: action values, and the distribution they come from.

Axes: B states, A actions, N atoms or quantiles. Distributions are float32 whatever type the layers
compute in: a softmax over 51 atoms in bfloat16 would lose the values' second digit.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class ValueOutputs(NamedTuple):
    """Outputs of the head "values".

    Attributes:
        q_values: float32 [B, A].
    """

    q_values: jax.Array


class CategoricalOutputs(NamedTuple):
    """Outputs of the head "categorical" (Bellemare et al., 2017, arXiv:1707.06887).

    Attributes:
        q_values: float32 [B, A], means of the distributions.
        logits: float32 [B, A, N], unnormalised log-probabilities of the atoms.
        support: float32 [N], the atoms' returns.
    """

    q_values: jax.Array
    logits: jax.Array
    support: jax.Array


class QuantileOutputs(NamedTuple):
    """Outputs of "quantile" (arXiv:1710.10044) and "implicit_quantile" (arXiv:1806.06923).

    Attributes:
        q_values: float32 [B, A], means over the quantiles.
        quantile_values: float32 [B, A, N].
        quantile_levels: float32 [B, N], or [1, N] when all states share them: the levels of the
            quantiles.
    """

    q_values: jax.Array
    quantile_values: jax.Array
    quantile_levels: jax.Array


Outputs = ValueOutputs | CategoricalOutputs | QuantileOutputs


def quantile_midpoints(num_quantiles: int) -> jax.Array:
    """Levels (i + 1/2) / N, i = 0 .. N - 1, float32 [N].

    QR-DQN learns the quantiles at these levels: N equal atoms there are closest to a distribution
    in Wasserstein-1 distance (Dabney et al., 2018a, lemma 2). IQN draws random levels while it
    learns. Evaluated at the midpoints, its mean has less error, and equal states get equal answers,
    so that stored labels match the teacher's later answers.
    """
    return (jnp.arange(num_quantiles, dtype=jnp.float32) + 0.5) / num_quantiles


def value_outputs(values: jax.Array) -> ValueOutputs:
    """Action values from [B, A, 1]."""
    return ValueOutputs(q_values=jnp.squeeze(values, axis=-1).astype(jnp.float32))


def categorical_outputs(logits: jax.Array, value_bound: float) -> CategoricalOutputs:
    """Means of categorical distributions over returns.

    Args:
        logits: [B, A, N].
        value_bound: Largest return on the support.
    """
    logits = logits.astype(jnp.float32)
    support = jnp.linspace(-value_bound, value_bound, logits.shape[-1], dtype=jnp.float32)
    probabilities = jax.nn.softmax(logits, axis=-1)
    q_values = jnp.sum(probabilities * support.reshape(1, 1, -1), axis=-1)
    return CategoricalOutputs(q_values=q_values, logits=logits, support=support)


def quantile_outputs(quantile_values: jax.Array, quantile_levels: jax.Array) -> QuantileOutputs:
    """Means of distributions given by their quantiles.

    Args:
        quantile_values: [B, A, N].
        quantile_levels: float32 [B, N] or [1, N].
    """
    values = quantile_values.astype(jnp.float32)
    return QuantileOutputs(jnp.mean(values, axis=-1), values, quantile_levels)
