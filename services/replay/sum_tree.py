"""A sum tree: draws in proportion to weights; updates and draws are vectorised."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class SumTree:
    """Weights of N places, initially 0.

    Args:
        places: Number of places N, at least 1.
    """

    def __init__(self, places: int) -> None:
        self._leaves = 1 << (places - 1).bit_length()
        # Node i holds the sum of its children 2i and 2i+1; node 1 is the root.
        self._sums = np.zeros(2 * self._leaves)

    @property
    def total(self) -> float:
        """Sum of all weights."""
        return float(self._sums[1])

    def weights(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """The weights of some places, float64 [R]."""
        found: NDArray[np.float64] = self._sums[places + self._leaves]
        return found

    def set(self, places: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        """Change weights; if a place occurs twice, its last weight counts.

        Args:
            places: int [R].
            weights: float64 [R], at least 0.
        """
        nodes = places + self._leaves
        self._sums[nodes] = weights
        while nodes.size and nodes[0] > 1:
            nodes = np.unique(nodes >> 1)
            self._sums[nodes] = self._sums[2 * nodes] + self._sums[2 * nodes + 1]

    def draw(self, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
        """Draw places with probabilities proportional to their weights; `total` must be above 0.

        Args:
            uniform: float64 [R] in [0, 1), drawn uniformly.

        Returns:
            int64 [R].
        """
        rest = uniform * self._sums[1]
        nodes = np.ones(len(uniform), np.int64)
        while nodes.size and nodes[0] < self._leaves:
            nodes = 2 * nodes
            left = self._sums[nodes]
            # Despite rounding, never go to a place of weight 0.
            goes_right = (rest >= left) & (self._sums[nodes + 1] > 0.0)
            rest = np.where(goes_right, rest - left, rest)
            nodes = nodes + goes_right
        return nodes - self._leaves
