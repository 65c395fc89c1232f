"""Losses that pull the student's policy towards the teacher's, for one state."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp


def distillation_loss(
    student_q: jax.Array,
    teacher_outputs: jax.Array,
    temperature: float,
    teacher_temperature: float | None = None,
) -> jax.Array:
    """KL divergence from the student's softened policy to the teacher's.

    KL(softmax(q_T / tau_T) || softmax(q_S / tau)), the distillation term of QDagger (Agarwal et
    al., 2022, arXiv:2206.01626, section 4.1), there with tau_T = tau. It is 0 where both policies
    agree.

    Args:
        student_q: float32 [A], action values of the network being trained.
        teacher_outputs: float32 [A], the teacher's scores in the same action order: action values
            of the same unit, or the logits of its policy; no gradient flows into it.
        temperature: Above 0, divides the student's values, and the teacher's unless they have a
            temperature of their own; low values approach the greedy action.
        teacher_temperature: Above 0, divides the teacher's scores; None for the same as the
            student's, which suits action values. Logits have that of the policy they are of.

    Returns:
        float32 [], in nats.
    """
    teacher_divisor = temperature if teacher_temperature is None else teacher_temperature
    _check_pair(student_q, teacher_outputs)
    log_teacher = jax.nn.log_softmax(jax.lax.stop_gradient(teacher_outputs) / teacher_divisor)
    log_student = jax.nn.log_softmax(student_q / temperature)
    return jnp.sum(jnp.exp(log_teacher) * (log_teacher - log_student))


def best_action_cross_entropy(
    student_q: jax.Array, teacher_outputs: jax.Array, temperature: float
) -> jax.Array:
    """Cross-entropy of the student's softened policy on the teacher's best action alone.

    -log softmax(q_S / tau)[argmax q_T], behaviour cloning of the greedy teacher: what the
    distillation loss becomes as the teacher's own temperature goes to 0.

    Args:
        student_q: float32 [A], action values of the network being trained.
        teacher_outputs: float32 [A], the teacher's scores; no gradient flows into them. The first
            of several equally good actions counts.
        temperature: Above 0, divides the student's values.

    Returns:
        float32 [], in nats.
    """
    _check_pair(student_q, teacher_outputs)
    best = jnp.argmax(jax.lax.stop_gradient(teacher_outputs))
    return -jax.nn.log_softmax(student_q / temperature)[best]


def mean_squared_difference(student_q: jax.Array, teacher_outputs: jax.Array) -> jax.Array:
    """Mean over the actions of (q_S - q_T)^2: regression on the teacher's values.

    Args:
        student_q: float32 [A], action values of the network being trained.
        teacher_outputs: float32 [A], the teacher's action values, of the same unit; no gradient
            flows into them. It is meaningless for logits.

    Returns:
        float32 [], squared units of the return.
    """
    _check_pair(student_q, teacher_outputs)
    return jnp.mean(jnp.square(student_q - jax.lax.stop_gradient(teacher_outputs)))


def _check_pair(student_q: jax.Array, teacher_outputs: jax.Array) -> None:
    chex.assert_rank([student_q, teacher_outputs], 1)
    chex.assert_type([student_q, teacher_outputs], float)
    chex.assert_equal_shape([student_q, teacher_outputs])
