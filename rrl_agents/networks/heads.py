"""The layers after a network's torso, from features to action values, for every head.

The functions create layers in the module whose compact method calls them, in Dopamine's order, so
that parameters have the names of its checkpoints: IQN's embedding is Dense_0, hidden layers follow,
then the advantages (or all values), then the value of a dueling network.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.initial_weights import kernel_init
from rrl_agents.networks.noisy import NoisyNetwork
from rrl_agents.networks.outputs import (
    Outputs,
    categorical_outputs,
    quantile_midpoints,
    quantile_outputs,
    value_outputs,
)


def q_head(
    x: jax.Array,
    config: NetworkConfig,
    num_actions: int,
    quantile_levels: jax.Array | None = None,
    dtype: str | None = None,
) -> Outputs:
    """Hidden layers and head over a state's features; call it in a compact method.

    Args:
        x: float [B, F], features of each state.
        config: The architecture.
        num_actions: Actions A.
        quantile_levels: float32 [B, N] in [0, 1], the levels that "implicit_quantile" evaluates;
            None for `num_atoms` midpoints (`quantile_midpoints`). Other heads ignore it.
        dtype: Type the hidden layers compute in, as `QNetwork.dtype`. If given, the last layer is
            float32: bfloat16 cannot separate action values that lie close together.

    Returns:
        The outputs of the head.
    """
    if config.head == "implicit_quantile":
        if quantile_levels is None:
            quantile_levels = quantile_midpoints(config.num_atoms)[None]
        x = _mixed_with_quantiles(x, quantile_levels, config, dtype)
    activation = nn.tanh if config.activation == "tanh" else nn.relu
    for units in config.dense_units:
        x = _linear(x, units, config, dtype)
        x = activation(nn.LayerNorm(dtype=dtype)(x) if config.layer_norm else x)
    atoms = _atoms(x, config, num_actions, None if dtype is None else "float32")
    if quantile_levels is not None and config.head == "implicit_quantile":
        # [B, N, A, 1]: quantiles were rows until here.
        values = jnp.squeeze(atoms, axis=-1).transpose(0, 2, 1)
        return quantile_outputs(values, quantile_levels)
    if config.head == "quantile":
        return quantile_outputs(atoms, quantile_midpoints(config.num_atoms)[None])
    if config.head == "categorical":
        return categorical_outputs(atoms, config.value_bound)
    return value_outputs(atoms)


def _mixed_with_quantiles(
    x: jax.Array,
    quantile_levels: jax.Array,
    config: NetworkConfig,
    dtype: str | None,
) -> jax.Array:
    """Features times an embedding of each quantile level, [B, N, F]."""
    # cos(pi * i * level) for i = 1 .. E, as in Dopamine (Dabney et al., 2018b, equation 4, counts
    # from 0).
    order = jnp.arange(1, config.quantile_embedding_dim + 1, dtype=jnp.float32)
    cosines = jnp.cos(jnp.pi * order.reshape(1, 1, -1) * quantile_levels[..., None])
    embedding = nn.Dense(x.shape[-1], kernel_init=kernel_init(config), dtype=dtype)(cosines)
    return x[:, None, :] * nn.relu(embedding)


def _atoms(x: jax.Array, config: NetworkConfig, num_actions: int, dtype: str | None) -> jax.Array:
    """The last layer, [..., A, atoms per action]; dueling ones join their streams atom by atom."""
    atoms = config.atoms_per_action
    outputs = _linear(x, num_actions * atoms, config, dtype)
    outputs = outputs.reshape(*x.shape[:-1], num_actions, atoms)
    if not config.dueling:
        return outputs
    value = _linear(x, atoms, config, dtype).reshape(*x.shape[:-1], 1, atoms)
    return value + outputs - jnp.mean(outputs, axis=-2, keepdims=True)


def _linear(x: jax.Array, units: int, config: NetworkConfig, dtype: str | None) -> jax.Array:
    if config.noisy:
        return NoisyNetwork(units, dtype)(x)
    return nn.Dense(units, kernel_init=kernel_init(config), dtype=dtype)(x)
