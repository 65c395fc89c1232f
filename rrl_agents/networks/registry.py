"""Networks by name: what a run or a teacher's card says, and the flax module it stands for.

Every network maps raw observations uint8 [B, H, W, stack] to action values float32 [B, A]; float32
observations are taken as they are, those of "mlp" in any shape [B, ...].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from rrl_agents.networks.config import MAX_UNITS, NetworkConfig, check_whole
from rrl_agents.networks.mlp import Mlp
from rrl_agents.networks.nature_cnn import NatureCnn
from rrl_agents.networks.size import check_size
from rrl_agents.types import Params

__all__ = ["NETWORKS", "NetworkConfig", "action_values", "initial_params", "make_network"]


def make_network(config: NetworkConfig, num_actions: int) -> nn.Module:
    """Build the flax module of a config.

    Args:
        config: The architecture.
        num_actions: Actions A, at least 1.

    Returns:
        A module with `.init(key, observation)` and `.apply(params, observation)`, observation
        uint8 [B, H, W, stack], values float32 [B, A]; `.apply(..., method="outputs")` gives all
        that the head answers (`rrl_agents.networks.outputs`).

    Raises:
        ValueError: When the number of actions is not positive, or the last layer would have more
            than `MAX_UNITS` outputs.
    """
    check_whole("num_actions", num_actions, MAX_UNITS)
    check_whole("num_actions * num_atoms", num_actions * config.atoms_per_action, MAX_UNITS)
    return NETWORKS[config.name](config, num_actions)


def initial_params(
    network: nn.Module, key: jax.Array, observation_shape: tuple[int, int, int]
) -> Params:
    """Draw random parameters, as Dopamine does.

    Args:
        network: From `make_network`.
        key: JAX random key.
        observation_shape: (H, W, stack).

    Raises:
        ValueError: When the network is too large to be meant (`size.check_size`).
    """
    check_size(network, observation_shape)
    observation = jnp.zeros((1, *observation_shape), dtype=jnp.uint8)
    return cast(Params, jax.jit(network.init)(key, observation))


def action_values(network: nn.Module, params: Params, observation: jax.Array) -> jax.Array:
    """Action values of a batch of states: `network.apply` with its type.

    Args:
        network: From `make_network`.
        params: Its parameters.
        observation: uint8 [B, H, W, stack], oldest frame first.

    Returns:
        float32 [B, A].
    """
    return cast(jax.Array, network.apply(params, observation))


NETWORKS: Mapping[str, Callable[[NetworkConfig, int], nn.Module]] = {
    "nature_cnn": NatureCnn,
    "mlp": Mlp,
}
"""Name -> constructor from a config and the number of actions."""
