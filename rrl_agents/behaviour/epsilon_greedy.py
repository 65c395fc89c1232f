"""Epsilon-greedy behaviour: mostly the best action, sometimes any."""

from __future__ import annotations

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rrl_agents.networks.registry import QNetwork, action_values
from rrl_agents.types import Params

Policy = Callable[[Params, ArrayLike, jax.Array, ArrayLike], tuple[jax.Array, jax.Array]]
"""Acts in N states at once.

Of the network's parameters, observations uint8 [N, H, W, ..., stack] with the oldest frame first, a
JAX random key that is a fresh one for each call, and the exploration rate float32 [] in [0, 1], it
makes the actions, int32 [N], and the network's action values, float32 [N, A].
"""


def epsilon_greedy(key: jax.Array, values: jax.Array, epsilon: ArrayLike) -> jax.Array:
    """Action for one state: uniform over all actions with probability epsilon, else the best.

    Args:
        key: JAX random key.
        values: float32 [A], action values; of equal best actions the first is taken.
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

    Noisy networks act by noisy values, one noise for each call: they explore by it, too.
    """

    @jax.jit
    def policy(
        params: Params, observation: jax.Array, key: jax.Array, epsilon: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        noise_key = None
        if network.config.noisy:
            key, noise_key = jax.random.split(key)
        values = action_values(network, params, observation, noise_key)
        keys = jax.random.split(key, values.shape[0])
        actions = jax.vmap(epsilon_greedy, in_axes=(0, 0, None))(keys, values, epsilon)
        return actions, values

    return policy
