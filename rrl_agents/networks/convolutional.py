"""Networks of successive convolutions, each followed by ReLU.

- "nature_cnn": the network of DQN (Mnih et al., 2015, Nature 518), as Dopamine builds it. Layers
  are named by call order as in Dopamine's checkpoints: Conv_0, Conv_1, Conv_2, then with the head
  "values" Dense_0 (hidden) and Dense_1 (action values). With every head, dueling or noisy,
  parameters and initial values are those of Dopamine's network of that kind.
- "small_cnn": the network of MinAtar (Young and Tian, 2019, arXiv:1903.03176), with one convolution
  of 16 channels and 128 hidden units in its paper. Here it has any number of convolutions, for
  grids too small for DQN's strides.
"""

from __future__ import annotations

import flax.linen as nn
import jax

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.initial_weights import kernel_init
from rrl_agents.networks.inputs import image_input

KERNEL_SIZES = (8, 4, 3)
"""Side of the square kernel of each convolution of "nature_cnn", pixels."""

STRIDES = (4, 2, 1)
"""Stride of each convolution of "nature_cnn", pixels."""


def nature_cnn(
    observation: jax.Array, config: NetworkConfig, dtype: str | None = None
) -> jax.Array:
    """Three convolutions over images uint8 or float32 [B, H, W, ..., stack]."""
    x = image_input(observation)
    for features, side, stride in zip(config.features, KERNEL_SIZES, STRIDES, strict=True):
        x = _convolution(x, config, features, side, stride, config.padding, dtype)
    return x


def small_cnn(observation: jax.Array, config: NetworkConfig, dtype: str | None = None) -> jax.Array:
    """3x3 convolutions without padding over images uint8 or float32 [B, H, W, ..., stack]."""
    x = image_input(observation)
    for features in config.features:
        x = _convolution(x, config, features, 3, 1, "VALID", dtype)
    return x


def _convolution(
    x: jax.Array,
    config: NetworkConfig,
    features: int,
    side: int,
    stride: int,
    padding: str,
    dtype: str | None,
) -> jax.Array:
    """Convolve maps float [B, H, W, channels] and apply ReLU."""
    if padding == "VALID" and min(x.shape[1:3]) < side:
        raise ValueError(
            f"{config.name} has a {side}x{side} convolution left for a map of "
            f"{x.shape[1]}x{x.shape[2]}; use larger images, or name fewer convolutions in features"
        )
    sides, strides = (side, side), (stride, stride)
    layer = nn.Conv(
        features, sides, strides, padding=padding, kernel_init=kernel_init(config), dtype=dtype
    )
    return nn.relu(layer(x))
