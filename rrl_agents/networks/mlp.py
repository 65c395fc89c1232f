"""A multi-layer perceptron over raw observations: a few dozen pixels, or a vector of numbers."""

from __future__ import annotations

import jax

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.inputs import network_input, rescaled_vector


def mlp(observation: jax.Array, config: NetworkConfig) -> jax.Array:
    """Observations [B, ...] as numbers, vectors rescaled where bounds are set; no layer yet."""
    x = network_input(observation)
    return rescaled_vector(x, config.input_low, config.input_high) if config.input_low else x
