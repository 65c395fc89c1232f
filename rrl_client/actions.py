"""How a teacher acts by its scores: greedily by Q-values, by drawing from a policy's logits.

Needs numpy only: agents from outside act by it, too. N is the states of a batch, A the actions.
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
        output: What the scores are: "q_values", the best of which is taken, the first of equal
            ones; or "logits", of a policy softmax(logits / temperature) to draw from.
        temperature: Divides logits, above 0; None for 1. Q-values do without.
        random: Where the draws come from; untouched by Q-values.

    Returns:
        int64 [N].

    Raises:
        ValueError: When the output is another.
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
    """Numbers whose largest marks the action that a teacher takes, drawn at each call.

    For callers who act by the best of some values. A draw from softmax(z) is the argmax of z plus
    independent standard Gumbel noise (Gumbel, 1954; Maddison et al., 2014, arXiv:1411.0030).

    Args and errors are those of `teacher_actions`.

    Returns:
        float32 [N, A]; Q-values as they are.
    """
    if output == "q_values":
        return scores
    if output != "logits":
        raise ValueError(f"output is {output!r}; choose 'q_values' or 'logits'")
    divisor = DEFAULT_TEMPERATURE if temperature is None else temperature
    return (scores / np.float64(divisor) + random.gumbel(size=scores.shape)).astype(np.float32)
