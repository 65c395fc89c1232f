"""A policy computed by JAX, on the GPU if there is one, else on the CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.teacher_card import Teacher
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.registry import action_values, make_network
from rrl_agents.types import Params
from services.teacher.config import DTYPES
from services.teacher.policies.cards import info_of_card

_Forward = Callable[[Params, NDArray[Any]], jax.Array]


class JaxPolicy:
    """A teacher's network with its parameters on JAX's default device.

    Policies of one architecture share their compiled programs, so new weights compile nothing.
    `evaluate` may be called from several threads.
    """

    dynamic_batch_size = False
    # XLA already spreads one call over all cores.
    max_concurrency = 1

    def __init__(self, teacher: Teacher, *, dtype: str = "float32") -> None:
        """Put the parameters on the device.

        Args:
            teacher: Parameters and card of the teacher.
            dtype: Type of parameters and activations: "float32", or "bfloat16", which halves the
                memory traffic and has about three decimal digits. Answers are float32 either way.

        Raises:
            ValueError: When the dtype is unknown.
        """
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}; choose one of {', '.join(DTYPES)}")
        card = teacher.card
        self.backend = f"jax {jax.default_backend()}"
        self.info = info_of_card(card)
        self._params: Params = jax.device_put(
            jax.tree.map(lambda leaf: np.asarray(leaf).astype(jnp.dtype(dtype)), teacher.params)
        )
        assert card.network is not None, "parameters are those of a network"
        self._forward = _forward(card.network, card.num_actions, dtype)

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Scores float32 [B, A] of [B, *observation_shape]; compiles once per B."""
        return np.asarray(self._forward(self._params, observations))


@functools.cache
def _forward(network: NetworkConfig, num_actions: int, dtype: str) -> _Forward:
    """The jitted network, one for all policies of an architecture."""
    module = make_network(network, num_actions)

    def forward(params: Params, observations: jax.Array) -> jax.Array:
        # The networks compute in the wider type of parameters and inputs, and pixels become
        # float32; so cast the layers' inputs to the parameters' type.
        with nn.intercept_methods(functools.partial(_with_inputs_as, jnp.dtype(dtype))):
            return action_values(module, params, observations).astype(jnp.float32)

    return jax.jit(forward)


def _with_inputs_as(
    dtype: Any,
    method: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    context: nn.module.InterceptorContext,
) -> Any:
    """Flax interceptor that casts the inputs of layers with parameters."""
    if isinstance(context.module, nn.Conv | nn.Dense) and context.method_name == "__call__":
        args = tuple(arg.astype(dtype) for arg in args)
    return method(*args, **kwargs)
