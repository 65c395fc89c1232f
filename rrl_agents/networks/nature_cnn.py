"""The convolutional network of DQN (Mnih et al., 2015, Nature 518), as Dopamine builds it.

Observations arrive raw, uint8 [B, H, W, ...]; scaling to [0, 1] is part of the network, so that
every caller (actors, learner, teacher service) feeds the same bytes. Float32 is not scaled.
"""

from __future__ import annotations

import flax.linen as nn
import jax

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.heads import read_out
from rrl_agents.networks.initial_weights import kernel_init
from rrl_agents.networks.inputs import image_input
from rrl_agents.networks.outputs import Outputs

KERNEL_SIZES = (8, 4, 3)
"""Side of the square kernel of each convolution, pixels."""

STRIDES = (4, 2, 1)
"""Stride of each convolution, pixels."""


class NatureCnn(nn.Module):
    """Three convolutions, one hidden layer, and a head.

    Submodules are named by call order as in Dopamine's checkpoints: Conv_0, Conv_1, Conv_2, then
    with the head "values" Dense_0 (hidden) and Dense_1 (action values). With every head, dueling
    or noisy, parameters and initial values are those of Dopamine's network of that kind.

    Attributes:
        config: The architecture.
        num_actions: Actions A.
    """

    config: NetworkConfig
    num_actions: int

    def __call__(self, observation: jax.Array) -> jax.Array:
        """Compute action values.

        Args:
            observation: uint8 [B, H, W, ..., stack], oldest frame first.

        Returns:
            float32 [B, A].
        """
        return self.outputs(observation).q_values

    @nn.compact
    def outputs(self, observation: jax.Array, quantile_levels: jax.Array | None = None) -> Outputs:
        """Compute all that the head answers; arguments as for a call, levels as in `read_out`."""
        config = self.config
        initial_weights = kernel_init(config)
        x = image_input(observation)
        for features, kernel, stride in zip(config.features, KERNEL_SIZES, STRIDES, strict=True):
            x = nn.Conv(
                features,
                kernel_size=(kernel, kernel),
                strides=(stride, stride),
                padding=config.padding,
                kernel_init=initial_weights,
            )(x)
            x = nn.relu(x)
        x = x.reshape((x.shape[0], -1))
        return read_out(x, config, self.num_actions, initial_weights, quantile_levels)
