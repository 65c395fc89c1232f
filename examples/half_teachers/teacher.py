"""Teachers of Catch that catch the balls in their columns, and do not move for all others.

Their action values agree: for a ball in their columns they expect up to 1, for others a miss.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MISSED = (-1.0, -0.9, -1.0)
"""Action values of left, stay and right for a ball in the other teacher's columns."""


class HalfTeacher:
    """Action values of Catch, for balls in some columns."""

    game = "catch"
    num_actions = 3
    observation_shape = (10, 5, 1)
    observation_dtype = "uint8"
    output = "q_values"
    temperature = None
    version = "1"

    def __init__(self, name: str, columns: tuple[int, ...]) -> None:
        self.name = name
        self._columns = columns

    def evaluate(self, observations: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Action values float32 [B, 3] of grids uint8 [B, 10, 5, 1]."""
        grids = observations[..., 0]
        # The ball is above the paddle's row until the episode ends.
        ball, paddle = grids[:, :-1].max(axis=1).argmax(axis=1), grids[:, -1].argmax(axis=1)
        left_over = np.abs((ball - paddle)[:, None] - np.asarray([-1, 0, 1]))
        values = np.where(
            np.isin(ball, self._columns)[:, None], 1.0 - 0.2 * left_over, np.asarray(MISSED)
        )
        return values.astype(np.float32)


def make_left() -> HalfTeacher:
    """Catches balls in the three left columns."""
    return HalfTeacher("left half", (0, 1, 2))


def make_right() -> HalfTeacher:
    """Catches balls in the three right columns."""
    return HalfTeacher("right half", (2, 3, 4))
