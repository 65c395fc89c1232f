"""The small convolutional network of MinAtar (Young and Tian, 2019, arXiv:1903.03176).

One convolution of 16 channels and 128 hidden units in its paper, a quarter of each layer of DQN's;
here any number of convolutions, for grids where DQN's strides would leave nothing.
"""

from __future__ import annotations

import flax.linen as nn
import jax

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.heads import read_out
from rrl_agents.networks.initial_weights import kernel_init
from rrl_agents.networks.inputs import image_input
from rrl_agents.networks.outputs import Outputs

KERNEL_SIZE = 3
"""Side of the square kernel of each convolution; the stride is 1, the edges are not padded."""


class SmallCnn(nn.Module):
    """3x3 convolutions, one hidden layer, and a head; Conv_0 .., then layers as of "nature_cnn".

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
        initial_weights = kernel_init(self.config)
        x = image_input(observation)
        for features in self.config.features:
            _check_room(x)
            x = nn.Conv(
                features, (KERNEL_SIZE, KERNEL_SIZE), padding="VALID", kernel_init=initial_weights
            )(x)
            x = nn.relu(x)
        x = x.reshape((x.shape[0], -1))
        return read_out(x, self.config, self.num_actions, initial_weights, quantile_levels)


def _check_room(x: jax.Array) -> None:
    if min(x.shape[1:3]) < KERNEL_SIZE:
        raise ValueError(
            f"small_cnn has a {KERNEL_SIZE}x{KERNEL_SIZE} convolution left for a map of "
            f"{x.shape[1]}x{x.shape[2]}; name fewer convolutions in features"
        )
