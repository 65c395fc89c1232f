"""A convolution with ReLU, as several networks have them in a row."""

from __future__ import annotations

import flax.linen as nn
import jax

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.initial_weights import kernel_init


def convolution(
    x: jax.Array,
    config: NetworkConfig,
    features: int,
    *,
    kernel_size: int,
    stride: int = 1,
    padding: str,
) -> jax.Array:
    """Convolve maps and keep what is above 0; call it in a compact method.

    Args:
        x: float32 [B, H, W, channels].
        config: Of the network.
        features: Channels of the result.
        kernel_size: Side of the square kernel, pixels.
        stride: Pixels.
        padding: "SAME" or "VALID".

    Raises:
        ValueError: When the kernel does not fit into maps that are not padded.
    """
    if padding == "VALID" and min(x.shape[1:3]) < kernel_size:
        raise ValueError(
            f"{config.name} has a {kernel_size}x{kernel_size} convolution left for a map of "
            f"{x.shape[1]}x{x.shape[2]}; use larger images, or name fewer convolutions in features"
        )
    sides, strides = (kernel_size, kernel_size), (stride, stride)
    layer = nn.Conv(features, sides, strides, padding=padding, kernel_init=kernel_init(config))
    return nn.relu(layer(x))
