"""A linear layer with noisy weights (Fortunato et al., 2018, arXiv:1706.10295).

Noise is active when flax gets the random stream `NOISE`, that is, in acting and training. A frozen
policy has none, as in Dopamine's `eval_mode`; evaluations use that.
"""

from __future__ import annotations

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

NOISE = "noise"
"""Name of the random stream; each layer draws its own noise from it, the same for all states."""

_SIGMA = 0.1


# Dopamine's name, after which flax names the parameters.
class NoisyNetwork(nn.Module):
    """Weights `mu + sigma * noise` with factorised noise, or without.

    Initial values are Dopamine's: mu uniform in +-1/sqrt(F), sigma 0.1/sqrt(F) (the paper: 0.5).

    Attributes:
        features: Outputs of the layer.
        dtype: Type it multiplies in, as `QNetwork.dtype`; noise is added in float32.
    """

    features: int
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Compute [..., features] of inputs [..., F]."""
        inputs = x.shape[-1]
        bound = 1 / math.sqrt(inputs)
        sigma = nn.initializers.constant(_SIGMA * bound)
        mean = functools.partial(jax.random.uniform, minval=-bound, maxval=bound)
        kernel = self.param("kernel_mu", mean, (inputs, self.features))
        kernel_sigma = self.param("kernel_sigma", sigma, (inputs, self.features))
        bias = self.param("bias_mu", mean, (self.features,))
        bias_sigma = self.param("bias_sigma", sigma, (self.features,))
        if self.has_rng(NOISE):
            kernel_noise, bias_noise = factorised_noise(self.make_rng(NOISE), inputs, self.features)
            kernel = kernel + kernel_sigma * kernel_noise
            bias = bias + bias_sigma * bias_noise
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        outputs: jax.Array = jnp.matmul(x, kernel) + bias.reshape((1,) * (x.ndim - 1) + (-1,))
        return outputs


def factorised_noise(key: jax.Array, inputs: int, outputs: int) -> tuple[jax.Array, jax.Array]:
    """Factorised Gaussian noise of a layer (Fortunato et al., 2018, equations 10 and 11).

    Args:
        key: JAX random key.
        inputs: F.
        outputs: U.

    Returns:
        float32 [F, U], f(p_i) f(q_j) with f(x) = sgn(x) sqrt(|x|) and p, q standard normal, and
        float32 [U], f(q_j).
    """
    input_key, output_key = jax.random.split(key)
    of_inputs = _signed_root(jax.random.normal(input_key, (inputs,)))
    of_outputs = _signed_root(jax.random.normal(output_key, (outputs,)))
    return jnp.outer(of_inputs, of_outputs), of_outputs


def _signed_root(x: jax.Array) -> jax.Array:
    return jnp.sign(x) * jnp.sqrt(jnp.abs(x))
