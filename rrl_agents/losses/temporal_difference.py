"""Q-learning losses of one transition; batch them with `jax.vmap`.

Time as in the papers: q_tm1 and a_tm1 belong to the state acted in, q_target_t to the state n steps
later (or fewer, at the end of an episode: the discount says how many). Every head's loss takes the
values that choose the action bootstrapped from beside the target network's answer: its own values
for Q-learning, the online network's for double Q-learning.
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
    q_selector_t: jax.Array,
) -> jax.Array:
    """Huber loss of the n-step Q-learning error (Mnih et al., 2015; van Hasselt et al., 2016).

    The error is delta = R + discount * q_target_t[argmax_a q_selector_t[a]] - q_tm1[a_tm1]; the
    loss is delta^2 / 2 up to |delta| = 1 and |delta| - 1/2 beyond.

    Args:
        q_tm1: float32 [A], the online network's values in the state acted in.
        a_tm1: int32 [], the action taken.
        n_step_return: float32 [], discounted sum of the rewards up to the bootstrap.
        discount: float32 [], gamma ** steps, or 0 after a termination.
        q_target_t: float32 [A], the target network's values in the state bootstrapped from.
        q_selector_t: float32 [A], the values there whose best action is bootstrapped from. No
            gradient flows into either.

    Returns:
        float32 [], squared units of the reward.
    """
    arguments = [q_tm1, a_tm1, n_step_return, discount, q_target_t, q_selector_t]
    chex.assert_rank(arguments, [1, 0, 0, 0, 1, 1])
    chex.assert_type(arguments, [float, int, float, float, float, float])
    chex.assert_equal_shape([q_tm1, q_target_t, q_selector_t])
    bootstrap = q_target_t[jnp.argmax(q_selector_t)]
    target = jax.lax.stop_gradient(n_step_return + discount * bootstrap)
    loss: jax.Array = optax.losses.huber_loss(q_tm1[a_tm1], target, delta=1.0)
    return loss
