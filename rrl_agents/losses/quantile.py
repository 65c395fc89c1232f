"""The loss of distributions over returns given by quantiles, of one transition.

QR-DQN (Dabney et al., 2018a, arXiv:1710.10044) and IQN (2018b, arXiv:1806.06923) share it: only the
levels differ, fixed there and drawn at random here. Axes: A actions, N quantiles of the online
network, M of the target network.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import optax


def quantile_q_learning_loss(
    quantiles_tm1: jax.Array,
    levels_tm1: jax.Array,
    a_tm1: jax.Array,
    n_step_return: jax.Array,
    discount: jax.Array,
    quantiles_target_t: jax.Array,
    q_selector_t: jax.Array,
) -> jax.Array:
    """Quantile Huber loss of the n-step errors between all pairs of quantiles, with kappa 1.

    Args:
        quantiles_tm1: float32 [A, N], the online network's in the state acted in.
        levels_tm1: float32 [N] in [0, 1], where on the distribution function they lie.
        a_tm1: int32 [], the action taken.
        n_step_return: float32 [], discounted sum of the rewards up to the bootstrap.
        discount: float32 [], gamma ** steps, or 0 after a termination.
        quantiles_target_t: float32 [A, M], the target network's in the state bootstrapped from.
        q_selector_t: float32 [A], the values there whose best action is bootstrapped from. No
            gradient flows into either.

    Returns:
        float32 [], squared units of the reward; a sum over N, a mean over M.
    """
    chex.assert_rank(
        [quantiles_tm1, levels_tm1, a_tm1, n_step_return, discount, quantiles_target_t],
        [2, 1, 0, 0, 0, 2],
    )
    best = jnp.argmax(q_selector_t)
    targets = n_step_return + discount * quantiles_target_t[best]
    return quantile_huber_loss(quantiles_tm1[a_tm1], levels_tm1, jax.lax.stop_gradient(targets))


def quantile_huber_loss(quantiles: jax.Array, levels: jax.Array, targets: jax.Array) -> jax.Array:
    """Regression of quantiles onto samples (Dabney et al., 2018a, equations 9 and 10, kappa 1).

    Each error u = target - quantile costs |level - 1{u < 0}| * huber(u), so that a quantile rests
    where its level's share of the targets lies below it.

    Args:
        quantiles: float32 [N].
        levels: float32 [N] in [0, 1].
        targets: float32 [M].

    Returns:
        float32 [], sum over the quantiles of the mean over the targets.
    """
    chex.assert_equal_shape([quantiles, levels])
    errors = targets[None, :] - quantiles[:, None]
    slopes = jnp.abs(levels[:, None] - (errors < 0.0).astype(levels.dtype))
    return jnp.sum(jnp.mean(slopes * optax.losses.huber_loss(errors, delta=1.0), axis=1))
