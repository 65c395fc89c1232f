"""The margin by which an expert's action must lead, for one state (DQfD).

Hester et al., 2018, arXiv:1704.03732, equation 2; after Piot et al., 2014.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp


def mean_margin_loss(student_q: jax.Array, teacher_outputs: jax.Array, margin: float) -> jax.Array:
    """The margin violation of each action against the teacher's best, averaged over the actions.

    mean_a max(Q(s, a) + margin [a != a*] - Q(s, a*), 0) with a* the teacher's best action: the form
    of the released code of Agarwal et al., 2022. It is 0 once a* leads by the margin.

    Args:
        student_q: float32 [A], action values of the network being trained.
        teacher_outputs: float32 [A], the teacher's scores in the same action order; no gradient
            flows into them. The first of several equally good actions counts.
        margin: At least 0, in units of the return.

    Returns:
        float32 [].
    """
    return jnp.mean(jnp.maximum(_lack(student_q, teacher_outputs, margin), 0.0))


def max_margin_loss(student_q: jax.Array, teacher_outputs: jax.Array, margin: float) -> jax.Array:
    """The largest margin violation, DQfD's own form.

    max_a (Q(s, a) + margin [a != a*]) - Q(s, a*); arguments as for `mean_margin_loss`. It is never
    negative, as a* is among the actions.
    """
    return jnp.max(_lack(student_q, teacher_outputs, margin))


def _lack(student_q: jax.Array, teacher_outputs: jax.Array, margin: float) -> jax.Array:
    """float32 [A]: Q(s, a) + margin [a != a*] - Q(s, a*), 0 for a* itself."""
    chex.assert_rank([student_q, teacher_outputs], 1)
    chex.assert_type([student_q, teacher_outputs], float)
    chex.assert_equal_shape([student_q, teacher_outputs])
    best = jnp.argmax(jax.lax.stop_gradient(teacher_outputs))
    is_other = jnp.arange(student_q.shape[0]) != best
    return student_q + margin * is_other - student_q[best]
