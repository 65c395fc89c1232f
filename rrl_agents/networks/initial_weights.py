"""Initial weights of plain layers: those of Dopamine's network with the same name and head.

| network | values | categorical | quantiles |
|---|---|---|---|
| nature_cnn | NatureDQNNetwork: Xavier | RainbowNetwork (C51's): fan-in | fan-in |
| impala_cnn | ImpalaDQNNetwork: Xavier | ImpalaRainbowNetwork: Xavier | IQN: fan-in |
| small_cnn | MinatarDQNNetwork: Xavier | MinatarRainbowNetwork: Xavier | fan-in |
| mlp | ClassicControlDQNNetwork: Xavier | ClassicControlRainbowNetwork: Xavier | fan-in |

Dueling or noisy networks are FullRainbowNetwork's, whose plain layers are Xavier's; so are those of
its plain categorical one, which `kernel_init="xavier_uniform"` asks for. No library has an "mlp"
with quantiles: it follows the other quantile networks.
"""

from __future__ import annotations

import math

import flax.linen as nn

from rrl_agents.networks.config import NetworkConfig


def kernel_init(config: NetworkConfig) -> nn.initializers.Initializer:
    """Distribution of the weights of plain layers before training.

    Returns:
        Xavier's uniform one, variance 2 / (F + U) of F inputs and U outputs, or the uniform one of
        Dopamine's C51, QR-DQN and IQN, variance 1 / (sqrt(3) F).
    """
    if config.kernel_init == "xavier_uniform" or config.dueling or config.noisy:
        return nn.initializers.xavier_uniform()
    is_c51 = config.head == "categorical" and config.name == "nature_cnn"
    if is_c51 or config.head in ("quantile", "implicit_quantile"):
        return nn.initializers.variance_scaling(1 / math.sqrt(3), "fan_in", "uniform")
    return nn.initializers.xavier_uniform()
