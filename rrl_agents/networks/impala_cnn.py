"""The deep residual network of IMPALA (Espeholt et al., 2018, arXiv:1802.01561, figure 3, right).

Without its LSTM, as in the code of Agarwal et al. (2022): each stack is a convolution, max pooling
that halves the sides, and two residual blocks; then 512 hidden units (the paper: 256) and a head.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.heads import read_out
from rrl_agents.networks.initial_weights import kernel_init
from rrl_agents.networks.inputs import image_input
from rrl_agents.networks.outputs import Outputs

RESIDUAL_BLOCKS = 2
"""Residual blocks of each stack."""

# Flax leaves it without types.
_max_pool: Callable[..., jax.Array] = nn.max_pool


class ImpalaCnn(nn.Module):
    """Residual stacks of `width` times `features` channels, one hidden layer, and a head.

    Submodules are Stack_0 .. with convolutions Conv_0 .. Conv_4 each, then the layers of the head,
    named as those of "nature_cnn".

    Attributes:
        config: The architecture.
        num_actions: Actions A.
    """

    config: NetworkConfig
    num_actions: int

    def __call__(self, observation: jax.Array) -> jax.Array:
        """Compute action values.

        Args:
            observation: uint8 or float32 [B, H, W, ..., stack], oldest frame first.

        Returns:
            float32 [B, A].
        """
        return self.outputs(observation).q_values

    @nn.compact
    def outputs(self, observation: jax.Array, quantile_levels: jax.Array | None = None) -> Outputs:
        """Compute all that the head answers; arguments as for a call, levels as in `read_out`."""
        config = self.config
        x = image_input(observation)
        for features in config.features:
            x = Stack(features * config.width)(x)
        x = nn.relu(x)
        x = x.reshape((x.shape[0], -1))
        return read_out(x, config, self.num_actions, kernel_init(config), quantile_levels)


class Stack(nn.Module):
    """A convolution, pooling, and residual blocks; sides of ceil(H / 2) and ceil(W / 2).

    Attributes:
        features: Channels of every convolution.
    """

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Compute float32 [B, ceil(H / 2), ceil(W / 2), features] of maps [B, H, W, channels]."""
        x = nn.Conv(self.features, (3, 3), kernel_init=nn.initializers.xavier_uniform())(x)
        x = _max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        for _ in range(RESIDUAL_BLOCKS):
            y = nn.Conv(self.features, (3, 3))(nn.relu(x))
            y = nn.Conv(self.features, (3, 3))(nn.relu(y))
            x = x + y
        return x
