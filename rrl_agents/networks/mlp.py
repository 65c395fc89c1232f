"""A multi-layer perceptron over raw frames, for environments of a few dozen pixels."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp


class Mlp(nn.Module):
    """Flattened frames through ReLU layers to one linear output per action.

    Submodules are Dense_0 .. Dense_k, the last one giving the action values.

    Attributes:
        num_actions: Actions A.
        features: Units of each hidden layer, first to last.
    """

    num_actions: int
    features: tuple[int, ...]

    @nn.compact
    def __call__(self, observation: jax.Array) -> jax.Array:
        """Compute action values.

        Args:
            observation: uint8 [B, H, W, stack], oldest frame first.

        Returns:
            float32 [B, A].
        """
        x = observation.reshape((observation.shape[0], -1)).astype(jnp.float32) / 255.0
        for units in self.features:
            x = nn.relu(nn.Dense(units)(x))
        return nn.Dense(self.num_actions)(x)
