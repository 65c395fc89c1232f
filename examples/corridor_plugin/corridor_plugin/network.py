"""An MLP with layer normalisation.

`--network.name normalised_mlp --network.features 32 32` has two layers.
"""

from __future__ import annotations

import flax.linen as nn
import jax

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.inputs import network_input
from rrl_agents.networks.torsos import Torso


def normalised_mlp(
    observation: jax.Array, config: NetworkConfig, dtype: str | None = None
) -> jax.Array:
    """Features [B, last of `features`] of observations of any shape."""
    x = network_input(observation).reshape((observation.shape[0], -1))
    for units in config.features:
        x = nn.gelu(nn.LayerNorm(dtype=dtype)(nn.Dense(units, dtype=dtype)(x)))
    return x


TORSO = Torso(function=f"{__name__}:normalised_mlp", summary="an MLP with layer normalisation")
