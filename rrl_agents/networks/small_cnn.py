"""The small convolutional network of MinAtar (Young and Tian, 2019, arXiv:1903.03176).

One convolution of 16 channels and 128 hidden units in its paper, a quarter of each layer of DQN's;
here any number of convolutions, for grids where DQN's strides would leave nothing.
"""

from __future__ import annotations

import jax

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.convolution import convolution
from rrl_agents.networks.inputs import image_input

KERNEL_SIZE = 3
"""Side of the square kernel of each convolution; the stride is 1, the edges are not padded."""


def small_cnn(observation: jax.Array, config: NetworkConfig) -> jax.Array:
    """3x3 convolutions over images uint8 or float32 [B, H, W, ..., stack]."""
    x = image_input(observation)
    for features in config.features:
        x = convolution(x, config, features, kernel_size=KERNEL_SIZE, padding="VALID")
    return x
