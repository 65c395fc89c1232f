"""Any network of the table as one flax module: its torso, hidden layers and head."""

from __future__ import annotations

import pkgutil

import flax.linen as nn
import jax

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.heads import read_out
from rrl_agents.networks.initial_weights import kernel_init
from rrl_agents.networks.outputs import Outputs
from rrl_agents.networks.torsos import NETWORKS


class QNetwork(nn.Module):
    """An action-value network; its torso's layers are named before those of the head.

    Attributes:
        config: The architecture.
        num_actions: Actions A.
    """

    config: NetworkConfig
    num_actions: int

    def __call__(self, observation: jax.Array) -> jax.Array:
        """Compute action values.

        Args:
            observation: uint8 or float32 [B, H, W, ..., stack], oldest frame first; of "mlp" any
                [B, ...]. Scaling to [0, 1] is part of the network, so that every caller feeds the
                same bytes; float32 is not scaled.

        Returns:
            float32 [B, A].
        """
        return self.outputs(observation).q_values

    @nn.compact
    def outputs(self, observation: jax.Array, quantile_levels: jax.Array | None = None) -> Outputs:
        """Compute all that the head answers; arguments as for a call, levels as in `read_out`."""
        torso = pkgutil.resolve_name(NETWORKS[self.config.name].function)
        features = torso(observation, self.config)
        return read_out(
            features.reshape((features.shape[0], -1)),
            self.config,
            self.num_actions,
            kernel_init(self.config),
            quantile_levels,
        )
