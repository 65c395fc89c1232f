"""Conservative Q-learning's penalty, for one transition (CQL)."""

from __future__ import annotations

import chex
import jax


def conservative_loss(q_tm1: jax.Array, a_tm1: jax.Array, temperature: float) -> jax.Array:
    """CQL(H)'s penalty: negative log-probability of the recorded action under softened values.

    logsumexp(Q(s, .) / tau) - Q(s, a) / tau (Kumar et al., 2020, arXiv:2006.04779, equation 4,
    CQL(H); with the temperature of Agarwal et al., 2022): the cross-entropy of softmax(Q / tau)
    with the recorded action. It keeps the values of actions outside the data from growing.

    Args:
        q_tm1: float32 [A], action values of the network being trained.
        a_tm1: int32 [], the action in the data.
        temperature: Above 0, divides the values.

    Returns:
        float32 [], in nats.
    """
    chex.assert_rank([q_tm1, a_tm1], [1, 0])
    chex.assert_type([q_tm1, a_tm1], [float, int])
    scaled = q_tm1 / temperature
    return jax.nn.logsumexp(scaled) - scaled[a_tm1]
