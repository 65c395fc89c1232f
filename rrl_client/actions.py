"""Chooses a teacher's actions from its scores: greedily by Q-values, or by sampling from logits.

Needs only NumPy, since other people's agents use it, too. N is the number of states in a batch, A
that of actions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rrl_client.spec import DEFAULT_TEMPERATURE


def teacher_actions(
    scores: NDArray[np.float32],
    *,
    output: str,
    temperature: float | None,
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """The actions that a teacher takes.

    Args:
        scores: float32 [N, A], finite.
        output: Kind of the scores: "q_values", of which the best is taken, the first of equal ones;
            or "logits", from whose policy softmax(logits / temperature) actions are sampled.
        temperature: Temperature of logits, above 0; None for 1. Ignored for Q-values.
        random: Random generator for samples; not used for Q-values.

    Returns:
        int64 [N].

    Raises:
        ValueError: The output is neither.
    """
    preferences = action_preferences(scores, output=output, temperature=temperature, random=random)
    actions: NDArray[np.int64] = preferences.argmax(axis=1)
    return actions


def action_preferences(
    scores: NDArray[np.float32],
    *,
    output: str,
    temperature: float | None,
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """Numbers of which the largest marks the teacher's action; for logits, sampled at each call.

    For callers that take the action with the largest value. A sample from softmax(z) is the argmax
    of z plus independent standard Gumbel noise (Gumbel, 1954; Maddison et al., 2014,
    arXiv:1411.0030).

    Arguments and errors are those of `teacher_actions`.

    Returns:
        float32 [N, A]; Q-values as they are.
    """
    if output == "q_values":
        return scores
    if output != "logits":
        raise ValueError(f"output is {output!r}; choose 'q_values' or 'logits'")
    divisor = DEFAULT_TEMPERATURE if temperature is None else temperature
    return (scores / np.float64(divisor) + random.gumbel(size=scores.shape)).astype(np.float32)
