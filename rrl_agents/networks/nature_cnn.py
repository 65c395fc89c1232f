"""The convolutional network of DQN (Mnih et al., 2015, Nature 518), as Dopamine builds it.

Layers are named by call order as in Dopamine's checkpoints: Conv_0, Conv_1, Conv_2, then with the
head "values" Dense_0 (hidden) and Dense_1 (action values). With every head, dueling or noisy,
parameters and initial values are those of Dopamine's network of that kind.
"""

from __future__ import annotations

import jax

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.convolution import convolution
from rrl_agents.networks.inputs import image_input

KERNEL_SIZES = (8, 4, 3)
"""Side of the square kernel of each convolution, pixels."""

STRIDES = (4, 2, 1)
"""Stride of each convolution, pixels."""


def nature_cnn(observation: jax.Array, config: NetworkConfig) -> jax.Array:
    """Three convolutions over images uint8 or float32 [B, H, W, ..., stack]."""
    x = image_input(observation)
    for features, side, stride in zip(config.features, KERNEL_SIZES, STRIDES, strict=True):
        x = convolution(
            x, config, features, kernel_size=side, stride=stride, padding=config.padding
        )
    return x
