"""The deep residual network of IMPALA (Espeholt et al., 2018, arXiv:1802.01561, figure 3, right).

Without its LSTM, as in the code of Agarwal et al. (2022): each stack is a convolution, max pooling
that halves the sides, and two residual blocks; then 512 hidden units (the paper: 256) and a head.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.inputs import image_input

RESIDUAL_BLOCKS = 2
"""Residual blocks of each stack."""

# Flax leaves it without types.
_max_pool: Callable[..., jax.Array] = nn.max_pool


def impala_cnn(
    observation: jax.Array, config: NetworkConfig, dtype: str | None = None
) -> jax.Array:
    """Residual stacks of `width` times `features` channels over images [B, H, W, ..., stack].

    Submodules are Stack_0 .. with convolutions Conv_0 .. Conv_4 each.
    """
    x = image_input(observation)
    for features in config.features:
        x = Stack(features * config.width, config.pool_padding, dtype)(x)
    return nn.relu(x)


class Stack(nn.Module):
    """A convolution, pooling, and residual blocks; sides of ceil(H / 2) and ceil(W / 2).

    Attributes:
        features: Channels of every convolution.
        pool_padding: As `NetworkConfig`.
        dtype: What they compute in, as `QNetwork.dtype`.
    """

    features: int
    pool_padding: str = "SAME"
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Compute float [B, ceil(H / 2), ceil(W / 2), features] of maps [B, H, W, channels]."""
        first = nn.initializers.xavier_uniform()
        x = nn.Conv(self.features, (3, 3), kernel_init=first, dtype=self.dtype)(x)
        padding = ((1, 1), (1, 1)) if self.pool_padding == "SYMMETRIC" else "SAME"
        x = _max_pool(x, (3, 3), strides=(2, 2), padding=padding)
        for _ in range(RESIDUAL_BLOCKS):
            y = nn.Conv(self.features, (3, 3), dtype=self.dtype)(nn.relu(x))
            y = nn.Conv(self.features, (3, 3), dtype=self.dtype)(nn.relu(y))
            x = x + y
        return x
