"""The first step of every network: scales pixels to [0, 1] and leaves floats unchanged.

Convolutions need a single channel axis, which merges a frame's channels and the stack of frames.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def network_input(observation: jax.Array) -> jax.Array:
    """Convert raw observations to the input of a first layer.

    Args:
        observation: [B, ...]; uint8 pixels are scaled to [0, 1]; floats are unchanged, as their
            scale is up to the environment.

    Returns:
        float32 [B, ...].
    """
    values = observation.astype(jnp.float32)
    return values / 255.0 if observation.dtype == jnp.uint8 else values


def image_input(observation: jax.Array) -> jax.Array:
    """Convert raw images to the input of a first convolution.

    Args:
        observation: uint8 or float32 [B, H, W, ...], e.g. [B, H, W, stack] of gray frames,
            [B, H, W, C] or [B, H, W, C, stack] of frames with channels; scaled as by
            `network_input`.

    Returns:
        float32 [B, H, W, channels].

    Raises:
        ValueError: When the observations are not images.
    """
    if observation.ndim < 4:
        raise ValueError(
            f"observations have shape {observation.shape[1:]}; convolutions need (H, W, ..., "
            'stack): use the network "mlp" for vectors'
        )
    return network_input(observation.reshape(*observation.shape[:3], -1))
