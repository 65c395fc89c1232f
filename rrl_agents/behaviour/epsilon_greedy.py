"""Epsilon-greedy behaviour: mostly the best action, sometimes any."""

from __future__ import annotations

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from rrl_agents.networks.registry import QNetwork, action_values
from rrl_agents.types import Params

Policy = Callable[[Params, NDArray[np.generic], int, float], tuple[jax.Array, jax.Array]]
"""Chooses actions for N states at once.

Of the network's parameters, observations uint8 [N, H, W, ..., stack] with the oldest frame first, a
seed in [0, 2^32) that is a fresh one for each call, and the exploration rate in [0, 1], it makes
the actions, int32 [N], and the network's action values, float32 [N, A].
"""


def epsilon_greedy(key: jax.Array, values: jax.Array, epsilon: ArrayLike) -> jax.Array:
    """Action for one state: uniform over all actions with probability epsilon, else the best.

    Args:
        key: JAX random key.
        values: float32 [A], action values; the first of several equally good actions is taken.
        epsilon: float32 [], in [0, 1].

    Returns:
        int32 [].
    """
    chex.assert_rank(values, 1)
    explore_key, action_key = jax.random.split(key)
    explores = jax.random.uniform(explore_key) < epsilon
    any_action = jax.random.randint(action_key, (), 0, values.shape[0])
    return jnp.where(explores, any_action, jnp.argmax(values)).astype(jnp.int32)


def make_policy(network: QNetwork) -> Policy:
    """Compile the epsilon-greedy policy of an action-value network; one compilation per N.

    Noisy networks act on noisy values, one noise sample per call, which is how they explore.
    """

    # The compiled function makes the key and moves the axes: outside of it, each costs as much as a
    # small network's forward pass for one state.
    @functools.partial(jax.jit, static_argnames="axes")
    def compiled(
        params: Params,
        stored: jax.Array,
        seed: jax.Array,
        epsilon: jax.Array,
        *,
        axes: tuple[int, ...],
    ) -> tuple[jax.Array, jax.Array]:
        key, noise_key = jax.random.key(seed), None
        if network.config.noisy:
            key, noise_key = jax.random.split(key)
        values = action_values(network, params, stored.transpose(axes), noise_key)
        keys = jax.random.split(key, values.shape[0])
        actions = jax.vmap(epsilon_greedy, in_axes=(0, 0, None))(keys, values, epsilon)
        return actions, values

    def policy(
        params: Params, observation: NDArray[np.generic], seed: int, epsilon: float
    ) -> tuple[jax.Array, jax.Array]:
        stored, axes = _as_stored(observation)
        actions, values = compiled(params, stored, np.uint32(seed), np.float32(epsilon), axes=axes)
        return actions, values

    return policy


def _as_stored(array: NDArray[np.generic]) -> tuple[NDArray[np.generic], tuple[int, ...]]:
    """The array with its axes in memory order, and the axes that restore it.

    JAX copies a transposed array element by element, but a contiguous one in one go.
    """
    order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    back = sorted(range(array.ndim), key=order.__getitem__)
    return array.transpose(order), tuple(back)
