"""Temporal-difference losses of one transition; batch them with `jax.vmap`.

Time as in the papers: q_tm1 and a_tm1 belong to the state acted in, q_target_t to the state n steps
later (or fewer, at the end of an episode: the discount says how many).
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import optax


def n_step_q_learning_loss(
    q_tm1: jax.Array,
    a_tm1: jax.Array,
    n_step_return: jax.Array,
    discount: jax.Array,
    q_target_t: jax.Array,
) -> jax.Array:
    """Huber loss of the n-step Q-learning error (Mnih et al., 2015; Hessel et al., 2018).

    The error is delta = R + discount * max_a q_target_t[a] - q_tm1[a_tm1]; the loss is delta^2 / 2
    up to |delta| = 1 and |delta| - 1/2 beyond.

    Args:
        q_tm1: float32 [A], the online network's values in the state acted in.
        a_tm1: int32 [], the action taken.
        n_step_return: float32 [], discounted sum of the clipped rewards up to the bootstrap.
        discount: float32 [], gamma ** steps, or 0 after a termination.
        q_target_t: float32 [A], the target network's values in the state bootstrapped from; no
            gradient flows into them.

    Returns:
        float32 [], squared units of the clipped reward.
    """
    chex.assert_rank([q_tm1, a_tm1, n_step_return, discount, q_target_t], [1, 0, 0, 0, 1])
    chex.assert_type(
        [q_tm1, a_tm1, n_step_return, discount, q_target_t], [float, int, float, float, float]
    )
    chex.assert_equal_shape([q_tm1, q_target_t])
    target = jax.lax.stop_gradient(n_step_return + discount * jnp.max(q_target_t))
    loss: jax.Array = optax.losses.huber_loss(q_tm1[a_tm1], target, delta=1.0)
    return loss
