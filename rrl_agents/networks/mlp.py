"""A multi-layer perceptron over raw observations: a few dozen pixels, or a vector of numbers."""

from __future__ import annotations

import flax.linen as nn
import jax

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.heads import read_out
from rrl_agents.networks.initial_weights import kernel_init
from rrl_agents.networks.inputs import network_input, rescaled_vector
from rrl_agents.networks.outputs import Outputs


class Mlp(nn.Module):
    """Flattened observations through ReLU layers to a head; vectors rescaled where bounds are set.

    With the head "values", submodules are Dense_0 .. Dense_k, the last one giving the action
    values.

    Attributes:
        config: The architecture.
        num_actions: Actions A.
    """

    config: NetworkConfig
    num_actions: int

    def __call__(self, observation: jax.Array) -> jax.Array:
        """Compute action values.

        Args:
            observation: uint8 or float32 [B, ...], e.g. [B, H, W, stack], oldest frame first;
                only uint8 is scaled.

        Returns:
            float32 [B, A].
        """
        return self.outputs(observation).q_values

    @nn.compact
    def outputs(self, observation: jax.Array, quantile_levels: jax.Array | None = None) -> Outputs:
        """Compute all that the head answers; arguments as for a call, levels as in `read_out`."""
        config = self.config
        x = network_input(observation)
        if config.input_low:
            x = rescaled_vector(x, config.input_low, config.input_high)
        x = x.reshape((x.shape[0], -1))
        return read_out(x, config, self.num_actions, kernel_init(config), quantile_levels)
