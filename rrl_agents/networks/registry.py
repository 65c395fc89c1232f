"""Networks by name: what a run or a teacher's card says, and the flax module it stands for.

Every network maps raw observations uint8 [B, H, W, ..., stack] to action values float32 [B, A];
float32 observations are taken as they are, those of "mlp" in any shape [B, ...].
"""

from __future__ import annotations

from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from rrl_agents.networks.config import MAX_UNITS, NetworkConfig, check_whole
from rrl_agents.networks.noisy import NOISE
from rrl_agents.networks.outputs import Outputs
from rrl_agents.networks.q_network import QNetwork
from rrl_agents.networks.size import check_size
from rrl_agents.networks.torsos import NETWORKS
from rrl_agents.types import Params

__all__ = [
    "NETWORKS",
    "NetworkConfig",
    "action_values",
    "config_of",
    "initial_params",
    "make_network",
    "network_outputs",
]


def make_network(config: NetworkConfig, num_actions: int) -> nn.Module:
    """Build the flax module of a config.

    Args:
        config: The architecture.
        num_actions: Actions A, at least 1.

    Returns:
        A module with `.init(key, observation)` and `.apply(params, observation)`, observation
        uint8 [B, H, W, ..., stack], values float32 [B, A]; `network_outputs` gives all that the
        head answers.

    Raises:
        ValueError: When the number of actions is not positive, or the last layer would have more
            than `MAX_UNITS` outputs.
    """
    check_whole("num_actions", num_actions, MAX_UNITS)
    check_whole("num_actions * num_atoms", num_actions * config.atoms_per_action, MAX_UNITS)
    return QNetwork(config, num_actions)


def config_of(network: nn.Module) -> NetworkConfig:
    """The architecture that a network of `make_network` was built from."""
    return cast(NetworkConfig, network.config)


def initial_params(
    network: nn.Module, key: jax.Array, observation_shape: tuple[int, ...]
) -> Params:
    """Draw random parameters, as Dopamine does.

    Args:
        network: From `make_network`.
        key: JAX random key.
        observation_shape: (H, W, ..., stack), or of "mlp" any.

    Raises:
        ValueError: When the network is too large to be meant (`size.check_size`), or cannot take
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
    """Action values of a batch of states; arguments as of `network_outputs`.

    Returns:
        float32 [B, A].
    """
    return cast(jax.Array, network.apply(params, observation, rngs=_rngs(noise_key)))


def network_outputs(
    network: nn.Module,
    params: Params,
    observation: jax.Array,
    *,
    noise_key: jax.Array | None = None,
    quantile_levels: jax.Array | None = None,
) -> Outputs:
    """All that a network's head answers for a batch of states.

    Args:
        network: From `make_network`.
        params: Its parameters.
        observation: uint8 [B, H, W, ..., stack], oldest frame first.
        noise_key: JAX random key of noisy layers, None for their means; plain layers ignore it.
        quantile_levels: float32 [B, N] in [0, 1] at which "implicit_quantile" answers, None for its
            usual ones; other heads ignore them.

    Returns:
        Of the head's type.
    """
    return cast(
        Outputs,
        network.apply(
            params, observation, quantile_levels, rngs=_rngs(noise_key), method="outputs"
        ),
    )


def _rngs(noise_key: jax.Array | None) -> dict[str, jax.Array]:
    return {} if noise_key is None else {NOISE: noise_key}
