"""Epsilon-greedy behaviour: mostly the best action, sometimes any."""

from __future__ import annotations

from typing import Protocol

import chex
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rrl_agents.networks.registry import QNetwork, action_values
from rrl_agents.types import Params


class Policy(Protocol):
    """Acts in N states at once."""

    def __call__(
        self, params: Params, observation: ArrayLike, key: jax.Array, epsilon: ArrayLike
    ) -> tuple[jax.Array, jax.Array]:
        """Choose actions.

        Args:
            params: Of the network.
            observation: uint8 [N, H, W, ..., stack], oldest frame first.
            key: JAX random key, a fresh one for each call.
            epsilon: float32 [], exploration rate in [0, 1].

        Returns:
            int32 [N], the actions, and float32 [N, A], the network's action values.
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
