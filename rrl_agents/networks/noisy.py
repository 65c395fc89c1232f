"""A linear layer with noisy weights (Fortunato et al., 2018, arXiv:1706.10295), without its noise.

A frozen policy has no noise, as in Dopamine's `eval_mode`. The scales of the noise are parameters
all the same: a checkpoint has them, and whoever learns from where it ended needs them.
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

_SIGMA = 0.1


# The name is Dopamine's: flax names parameters after it.
class NoisyNetwork(nn.Module):
    """Weights `mu + sigma * noise` with noise 0.

    Initial values are Dopamine's: mu uniform in +-1/sqrt(F), sigma 0.1/sqrt(F) (the paper: 0.5).

    Attributes:
        features: Outputs of the layer.
    """

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Compute [..., features] of inputs [..., F]."""
        inputs = x.shape[-1]
        bound = 1 / math.sqrt(inputs)
        sigma = nn.initializers.constant(_SIGMA * bound)
        kernel = self.param("kernel_mu", _uniform(bound), (inputs, self.features))
        self.param("kernel_sigma", sigma, (inputs, self.features))
        bias = self.param("bias_mu", _uniform(bound), (self.features,))
        self.param("bias_sigma", sigma, (self.features,))
        return jnp.matmul(x, kernel) + bias.reshape((1,) * (x.ndim - 1) + (-1,))


def _uniform(bound: float) -> nn.initializers.Initializer:
    def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

    return draw
