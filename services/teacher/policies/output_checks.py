"""Checks of a foreign policy's output against its spec."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class InvalidPolicyOutput(Exception):
    """A policy's output does not match its spec; the message says how."""


def checked_scores(scores: Any, *, rows: int, num_actions: int, name: str) -> NDArray[np.float32]:
    """Check that scores can belong to the given batch.

    Args:
        scores: The policy's output.
        rows: Rows of the batch.
        num_actions: Actions A.
        name: The policy's name, for the message.

    Returns:
        The scores, float32 [rows, A], finite.

    Raises:
        InvalidPolicyOutput: They do not match.
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
