"""Teachers of Catch that catch the balls of their columns, and stand still for all others.

Their action values say so: towards a ball of theirs they expect up to 1, of others to miss.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MISSED = (-1.0, -0.9, -1.0)
"""What left, stay and right are expected to be worth under a ball of the other's columns."""


class HalfTeacher:
    """Action values of Catch, of balls in some columns."""

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
        # The ball is in one of the rows above the paddle's; at the end of an episode it is not.
        ball, paddle = grids[:, :-1].max(axis=1).argmax(axis=1), grids[:, -1].argmax(axis=1)
        left_over = np.abs((ball - paddle)[:, None] - np.asarray([-1, 0, 1]))
        values = np.where(
            np.isin(ball, self._columns)[:, None], 1.0 - 0.2 * left_over, np.asarray(MISSED)
        )
        return values.astype(np.float32)


def make_left() -> HalfTeacher:
    """Catches what falls into the three columns on the left."""
    return HalfTeacher("left half", (0, 1, 2))


def make_right() -> HalfTeacher:
    """Catches what falls into the three columns on the right."""
    return HalfTeacher("right half", (2, 3, 4))
