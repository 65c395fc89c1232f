"""The loss of categorical distributions over returns, of one transition.

C51 (Bellemare et al., 2017, arXiv:1707.06887). Axes: A actions, N atoms; the support is the same
for all states, evenly spaced and ascending.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp


def categorical_q_learning_loss(
    logits_tm1: jax.Array,
    a_tm1: jax.Array,
    n_step_return: jax.Array,
    discount: jax.Array,
    logits_target_t: jax.Array,
    q_selector_t: jax.Array,
    support: jax.Array,
) -> jax.Array:
    """Cross-entropy from the projected target distribution to the student's (its algorithm 1).

    Args:
        logits_tm1: float32 [A, N], the online network's in the state acted in.
        a_tm1: int32 [], the action taken.
        n_step_return: float32 [], discounted sum of the rewards up to the bootstrap.
        discount: float32 [], gamma ** steps, or 0 after a termination.
        logits_target_t: float32 [A, N], the target network's in the state bootstrapped from.
        q_selector_t: float32 [A], the values there whose best action is bootstrapped from. No
            gradient flows into either.
        support: float32 [N], the atoms' returns.

    Returns:
        float32 [], in nats.
    """
    chex.assert_rank(
        [logits_tm1, a_tm1, n_step_return, discount, logits_target_t, q_selector_t, support],
        [2, 0, 0, 0, 2, 1, 1],
    )
    chex.assert_equal_shape([logits_tm1, logits_target_t])
    best = jnp.argmax(q_selector_t)
    target = project_distribution(
        n_step_return + discount * support, jax.nn.softmax(logits_target_t[best]), support
    )
    return -jnp.sum(jax.lax.stop_gradient(target) * jax.nn.log_softmax(logits_tm1[a_tm1]))


def project_distribution(
    atoms: jax.Array, probabilities: jax.Array, support: jax.Array
) -> jax.Array:
    """Move a distribution onto the support, keeping its mean where the support reaches.

    An atom between two of the support gives its probability to both, by nearness; one outside goes
    to the end (Bellemare et al., 2017, equation 7).

    Args:
        atoms: float32 [M], returns.
        probabilities: float32 [M].
        support: float32 [N], at least two atoms.

    Returns:
        float32 [N], probabilities.
    """
    chex.assert_equal_shape([atoms, probabilities])
    spacing = (support[-1] - support[0]) / (support.shape[0] - 1)
    clipped = jnp.clip(atoms, support[0], support[-1])
    distances = jnp.abs(clipped[None, :] - support[:, None]) / spacing
    return jnp.clip(1.0 - distances, 0.0, 1.0) @ probabilities
