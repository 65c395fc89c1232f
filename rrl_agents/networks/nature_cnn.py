"""The convolutional network of DQN (Mnih et al., 2015, Nature 518), as Dopamine builds it.

Observations arrive raw, uint8 [B, H, W, stack]; scaling to [0, 1] is part of the network, so that
every caller (actors, learner, teacher service) feeds the same bytes.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

KERNEL_SIZES = (8, 4, 3)
"""Side of the square kernel of each convolution, pixels."""

STRIDES = (4, 2, 1)
"""Stride of each convolution, pixels."""


class NatureCnn(nn.Module):
    """Three convolutions, one hidden layer, one linear output per action.

    Submodules are named by call order as in Dopamine's checkpoints: Conv_0, Conv_1, Conv_2, then
    Dense_0 (hidden) and Dense_1 (action values).

    Attributes:
        num_actions: Actions A.
        features: Output channels of the three convolutions.
        hidden_units: Units of the hidden layer.
        padding: "SAME" (Dopamine) or "VALID" (the paper, about 2.5 times cheaper).
    """

    num_actions: int
    features: tuple[int, ...]
    hidden_units: int
    padding: str

    @nn.compact
    def __call__(self, observation: jax.Array) -> jax.Array:
        """Compute action values.

        Args:
            observation: uint8 [B, H, W, stack], oldest frame first.

        Returns:
            float32 [B, A].
        """
        initializer = nn.initializers.xavier_uniform()
        x = observation.astype(jnp.float32) / 255.0
        for features, kernel, stride in zip(self.features, KERNEL_SIZES, STRIDES, strict=True):
            x = nn.Conv(
                features,
                kernel_size=(kernel, kernel),
                strides=(stride, stride),
                padding=self.padding,
                kernel_init=initializer,
            )(x)
            x = nn.relu(x)
        x = x.reshape((x.shape[0], -1))
        hidden = nn.relu(nn.Dense(self.hidden_units, kernel_init=initializer)(x))
        return nn.Dense(self.num_actions, kernel_init=initializer)(hidden)
