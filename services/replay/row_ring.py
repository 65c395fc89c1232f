"""A ring buffer of numbered rows in memory, which frees the oldest once no item needs them.

    number      0          1 .. 99       100 .. 950        951 ..
                zeros      freed         kept              future
    place       0                        1 + (number - 1) mod (size - 1)

The ring grows only if its rows are still needed, so its size follows the rows that items use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

PADDING_ROW = 0
"""Number of the row of zeros, which pads episodes."""

_FIRST_ROWS = 1024
_FREED_SHARE = 8
"""The ring grows if less than one part in this many can be freed."""


class RowRing:
    """Numbered rows.

    Args:
        dtype: Type of a row.
        oldest_needed: Called when the ring is full; returns the smallest number of a row, other
            than the padding row, that is still needed, or `next_number` if none is.

    Attributes:
        next_number: Number of the next row.
    """

    def __init__(self, dtype: np.dtype[Any], oldest_needed: Callable[[], int]) -> None:
        self._rows = np.zeros(1 + _FIRST_ROWS, dtype)
        self._oldest_needed = oldest_needed
        self._oldest = self.next_number = 1

    def append(self, row: NDArray[np.void]) -> int:
        """Store a row; returns its number."""
        number, places = self.next_number, len(self._rows) - 1
        if number - self._oldest == places:
            self._make_room()
            places = len(self._rows) - 1
        self._rows[1 + (number - 1) % places] = row
        self.next_number = number + 1
        return number

    def rows(self, numbers: NDArray[np.int64]) -> NDArray[np.void]:
        """A copy of the rows with these numbers, int64 of any shape."""
        found: NDArray[np.void] = self._rows[self._places(numbers)]
        return found

    def since(self, oldest: int) -> NDArray[np.void]:
        """A copy of all rows from number `oldest` to the newest."""
        return self.rows(np.arange(oldest, self.next_number))

    def restore(self, oldest: int, rows: NDArray[np.void]) -> None:
        """Replace all rows by these, numbered from `oldest`."""
        self._oldest, self.next_number = oldest, oldest + len(rows)
        self._resize(max(_FIRST_ROWS, len(rows)), rows)

    def _places(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        places: NDArray[np.int64] = (numbers - 1) % (len(self._rows) - 1) + 1
        places[numbers == PADDING_ROW] = 0
        return places

    def _make_room(self) -> None:
        size, oldest = len(self._rows) - 1, self._oldest_needed()
        if oldest - self._oldest < size // _FREED_SHARE:
            rows = self.since(oldest)
            self._resize(size + size // 2, rows, oldest)
        self._oldest = oldest

    def _resize(self, size: int, rows: NDArray[np.void], oldest: int | None = None) -> None:
        first = self._oldest if oldest is None else oldest
        self._rows = np.zeros(1 + size, rows.dtype)
        self._rows[self._places(np.arange(first, first + len(rows)))] = rows
