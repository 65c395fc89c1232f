"""Losses that pull the student's action values towards the teacher's, for one state."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp


def distillation_loss(student_q: jax.Array, teacher_q: jax.Array, temperature: float) -> jax.Array:
    """KL divergence from the student's softened policy to the teacher's.

    KL(softmax(q_T / tau) || softmax(q_S / tau)), the distillation term of QDagger (Agarwal et al.,
    2022, arXiv:2206.01626, section 4.1). It is 0 where both policies agree.

    Args:
        student_q: float32 [A], action values of the network being trained.
        teacher_q: float32 [A], same unit and action order; no gradient flows into it.
        temperature: Above 0, divides both; low values approach the teacher's greedy action.

    Returns:
        float32 [], in nats.

    Raises:
        ValueError: When the temperature is not positive.
    """
    if temperature <= 0.0:
        raise ValueError(f"temperature is {temperature}; use a number above 0")
    chex.assert_rank([student_q, teacher_q], 1)
    chex.assert_type([student_q, teacher_q], float)
    chex.assert_equal_shape([student_q, teacher_q])
    log_teacher = jax.nn.log_softmax(jax.lax.stop_gradient(teacher_q) / temperature)
    log_student = jax.nn.log_softmax(student_q / temperature)
    return jnp.sum(jnp.exp(log_teacher) * (log_teacher - log_student))
