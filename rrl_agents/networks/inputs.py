"""What every network does first: pixels become numbers around 1, floats stay what they are."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def network_input(observation: jax.Array) -> jax.Array:
    """Make raw observations the input of a first layer.

    Args:
        observation: [B, ...]; uint8 pixels are scaled to [0, 1], floats are taken as they are:
            whoever observes numbers knows their scale better.

    Returns:
        float32 [B, ...].
    """
    values = observation.astype(jnp.float32)
    return values / 255.0 if observation.dtype == jnp.uint8 else values
