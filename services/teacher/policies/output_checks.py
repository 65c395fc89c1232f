"""What a policy from outside gives, checked against its spec."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class InvalidPolicyOutput(Exception):
    """A policy gave something else than its spec says; the message says what."""


def checked_scores(scores: Any, *, rows: int, num_actions: int, name: str) -> NDArray[np.float32]:
    """Let only scores through that can be those of the batch asked for.

    Args:
        scores: What the policy gave.
        rows: Rows of the batch.
        num_actions: Actions A.
        name: Of the policy, for the message.

    Returns:
        The same, float32 [rows, A], finite.

    Raises:
        InvalidPolicyOutput: It is something else.
    """
    wanted = f"{name}: scores must be a numpy array, float32 [{rows}, {num_actions}]"
    if not isinstance(scores, np.ndarray):
        raise InvalidPolicyOutput(
            f"{wanted}; got {type(scores).__module__}.{type(scores).__name__}"
        )
    if scores.dtype != np.float32 or scores.shape != (rows, num_actions):
        raise InvalidPolicyOutput(f"{wanted}; got {scores.dtype} {list(scores.shape)}")
    if not np.isfinite(scores).all():
        raise InvalidPolicyOutput(f"{wanted}, finite; {int((~np.isfinite(scores)).sum())} are not")
    return scores
