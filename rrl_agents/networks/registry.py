"""Networks by name: from the config of a run or card to a flax module.

Every network maps raw observations uint8 [B, H, W, ..., stack] to action values float32 [B, A];
float32 observations are not rescaled; "mlp" accepts any shape [B, ...].
"""

from __future__ import annotations

import pkgutil
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from rrl_agents.networks.config import MAX_UNITS, ComputeType, NetworkConfig
from rrl_agents.networks.heads import q_head
from rrl_agents.networks.noisy import NOISE
from rrl_agents.networks.outputs import Outputs
from rrl_agents.networks.size import check_size
from rrl_agents.networks.torsos import NETWORKS
from rrl_agents.ranges import check_range
from rrl_agents.types import Params


class QNetwork(nn.Module):
    """An action-value network: torso, whose layers are named first, hidden layers and head.

    Attributes:
        config: The architecture.
        num_actions: Actions A.
        dtype: Type its layers compute in, "float32" or "bfloat16", independent of the parameters'
            type; None for the wider type of parameters and inputs. With a given type, the last
            layer and the head still use float32.
    """

    config: NetworkConfig
    num_actions: int
    dtype: str | None = None

    def __call__(self, observation: jax.Array) -> jax.Array:
        """Compute action values.

        Args:
            observation: uint8 or float32 [B, H, W, ..., stack], oldest frame first; any [B, ...]
                for "mlp". Scaling to [0, 1] is part of the network, so that every caller feeds the
                same bytes; float32 is not scaled.

        Returns:
            float32 [B, A].
        """
        return self.outputs(observation).q_values

    @nn.compact
    def outputs(self, observation: jax.Array, quantile_levels: jax.Array | None = None) -> Outputs:
        """Compute all outputs of the head; arguments as for a call, levels as in `q_head`."""
        torso = pkgutil.resolve_name(NETWORKS[self.config.name].function)
        features = torso(observation, self.config, self.dtype)
        features = features.reshape((features.shape[0], -1))
        return q_head(features, self.config, self.num_actions, quantile_levels, self.dtype)


def make_network(
    config: NetworkConfig, num_actions: int, *, dtype: ComputeType | None = None
) -> QNetwork:
    """Build the flax module of a config.

    Args:
        config: The architecture.
        num_actions: Actions A, at least 1.
        dtype: Type its layers compute in, as `QNetwork.dtype`.

    Raises:
        ValueError: When the number of actions is not positive, or the last layer would have more
            than `MAX_UNITS` outputs.
    """
    outputs = num_actions * config.atoms_per_action
    check_range("num_actions times num_atoms", outputs, least=1, most=MAX_UNITS)
    return QNetwork(config, num_actions, dtype)


def initial_params(
    network: nn.Module, key: jax.Array, observation_shape: tuple[int, ...]
) -> Params:
    """Draw random parameters, as Dopamine does.

    Args:
        network: From `make_network`.
        key: JAX random key.
        observation_shape: (H, W, ..., stack), or any shape for "mlp".

    Raises:
        ValueError: When the network is implausibly large (`size.check_size`), or does not accept
            such observations.
    """
    check_size(network, observation_shape)
    observation = jnp.zeros((1, *observation_shape), dtype=jnp.uint8)
    return cast(Params, jax.jit(network.init)(key, observation))


def action_values(
    network: nn.Module,
    params: Params,
    observation: jax.Array,
    noise_key: jax.Array | None = None,
) -> jax.Array:
    """Action values of a batch of states, float32 [B, A]; arguments as for `network_outputs`."""
    return network_outputs(network, params, observation, noise_key=noise_key).q_values


def network_outputs(
    network: nn.Module,
    params: Params,
    observation: jax.Array,
    *,
    noise_key: jax.Array | None = None,
    quantile_levels: jax.Array | None = None,
) -> Outputs:
    """All outputs of a network's head for a batch of states.

    Args:
        network: From `make_network`.
        params: Its parameters.
        observation: uint8 [B, H, W, ..., stack], oldest frame first.
        noise_key: JAX random key of noisy layers, None for their means; plain layers ignore it.
        quantile_levels: float32 [B, N] in [0, 1], the levels that "implicit_quantile" evaluates;
            None for the midpoints. Other heads ignore it.

    Returns:
        The head's type of outputs.
    """
    rngs = {} if noise_key is None else {NOISE: noise_key}
    found = network.apply(params, observation, quantile_levels, rngs=rngs, method="outputs")
    return cast(Outputs, found)
