"""Networks by name: what a run or a teacher's card says, and the flax module it stands for.

Every network maps raw observations uint8 [B, H, W, stack] to action values float32 [B, A].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from rrl_agents.networks import mlp, nature_cnn
from rrl_agents.types import Params

MAX_UNITS = 65_536
"""Upper bound of one layer's width: a config may come from a file, and sizes memory."""

MAX_LAYERS = 16
"""Upper bound of the number of hidden layers of the "mlp" network, for the same reason."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Architecture of an action-value network.

    Attributes:
        name: Key of `NETWORKS`: "nature_cnn" or "mlp".
        features: Channels of the three convolutions of "nature_cnn"; units of the hidden layers of
            "mlp", any number of them.
        hidden_units: Units of the layer after the convolutions; "mlp" has none and ignores it.
        padding: "SAME" (Dopamine's) or "VALID" (Mnih et al., 2015); "mlp" ignores it.
    """

    name: str = "nature_cnn"
    features: tuple[int, ...] = (32, 64, 64)
    hidden_units: int = 512
    padding: str = "SAME"

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        if self.name not in NETWORKS:
            raise ValueError(f"network {self.name!r} is unknown; choose one of {sorted(NETWORKS)}")
        if self.padding not in ("SAME", "VALID"):
            raise ValueError(f"padding is {self.padding!r}; choose 'SAME' or 'VALID'")
        _check_features(self.name, self.features)
        _check_units("hidden_units", self.hidden_units)


def make_network(config: NetworkConfig, num_actions: int) -> nn.Module:
    """Build the flax module of a config.

    Args:
        config: The architecture.
        num_actions: Actions A, at least 1.

    Returns:
        A module with `.init(key, observation)` and `.apply(params, observation)`, observation
        uint8 [B, H, W, stack], values float32 [B, A].

    Raises:
        ValueError: When the number of actions is not positive.
    """
    _check_units("num_actions", num_actions)
    return NETWORKS[config.name](config, num_actions)


def initial_params(
    network: nn.Module, key: jax.Array, observation_shape: tuple[int, int, int]
) -> Params:
    """Draw random parameters, as Dopamine does.

    Args:
        network: From `make_network`.
        key: JAX random key.
        observation_shape: (H, W, stack).
    """
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


def _make_nature_cnn(config: NetworkConfig, num_actions: int) -> nn.Module:
    return nature_cnn.NatureCnn(
        num_actions=num_actions,
        features=config.features,
        hidden_units=config.hidden_units,
        padding=config.padding,
    )


def _make_mlp(config: NetworkConfig, num_actions: int) -> nn.Module:
    return mlp.Mlp(num_actions=num_actions, features=config.features)


NETWORKS: Mapping[str, Callable[[NetworkConfig, int], nn.Module]] = {
    "nature_cnn": _make_nature_cnn,
    "mlp": _make_mlp,
}
"""Name -> constructor from a config and the number of actions."""


def _check_features(name: str, features: tuple[int, ...]) -> None:
    convolutions = len(nature_cnn.KERNEL_SIZES)
    if name == "nature_cnn" and len(features) != convolutions:
        raise ValueError(
            f"features is {features}; nature_cnn needs {convolutions} numbers, one per convolution"
        )
    if len(features) > MAX_LAYERS:
        raise ValueError(f"features names {len(features)} layers; at most {MAX_LAYERS} are allowed")
    for units in features:
        _check_units("features", units)


def _check_units(field: str, units: int) -> None:
    if isinstance(units, bool) or not isinstance(units, int) or not 1 <= units <= MAX_UNITS:
        raise ValueError(f"{field} holds {units!r}; use a whole number from 1 to {MAX_UNITS}")
