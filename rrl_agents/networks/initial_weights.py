"""Initial weights of plain layers, by the agent a network belongs to."""

from __future__ import annotations

import math

import flax.linen as nn

from rrl_agents.networks.config import NetworkConfig


def dopamine_kernel_init(config: NetworkConfig) -> nn.initializers.Initializer:
    """Dopamine's: its distributional agents start smaller than DQN and the full Rainbow."""
    if config.head == "values" or config.dueling or config.noisy:
        return nn.initializers.xavier_uniform()
    return distributional_kernel_init()


def distributional_kernel_init() -> nn.initializers.Initializer:
    """Dopamine's for C51, QR-DQN and IQN: uniform, variance 1 / (sqrt(3) F) of F inputs."""
    return nn.initializers.variance_scaling(1 / math.sqrt(3), "fan_in", "uniform")
