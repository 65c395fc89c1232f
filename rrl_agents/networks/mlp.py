"""The input of a multi-layer perceptron: a few dozen pixels, or a vector of numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.inputs import network_input


def mlp(observation: jax.Array, config: NetworkConfig, dtype: str | None = None) -> jax.Array:
    """Convert observations [B, ...] to numbers, and rescale vectors if there are bounds.

    The result is float32, whatever type the layers compute in.

    Raises:
        ValueError: When there are bounds, but the observations are not vectors with as many
            elements.
    """
    x = network_input(observation)
    elements = len(config.input_low)
    if elements == 0:
        return x
    if observation.ndim not in (2, 3) or observation.shape[1] != elements:
        raise ValueError(
            f"observations have shape {observation.shape[1:]}, input_low has {elements} numbers; "
            "give one for each element of a vector"
        )
    # [B, D], or a stack of vectors [B, D, stack].
    shape = (1, elements) + (1,) * (observation.ndim - 2)
    low = jnp.asarray(config.input_low, jnp.float32).reshape(shape)
    high = jnp.asarray(config.input_high, jnp.float32).reshape(shape)
    return 2.0 * (x - low) / (high - low) - 1.0
