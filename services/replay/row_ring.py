"""Rows in the order they come, in memory, each once; the oldest go when they are no longer needed.

    number      0          1 .. 99       100 .. 950        951 ..
                zeros      gone          kept              to come
    place       0                        1 + (number - 1) mod (size - 1)

The ring grows as long as its rows are needed, so that it takes the memory that items show.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

PADDING_ROW = 0
"""Number of the row of zeros, which stands around episodes."""

_FIRST_ROWS = 1024
_FREED_SHARE = 8
"""The ring grows where less than this part of it can be freed."""


class RowRing:
    """Numbered rows.

    Args:
        dtype: Of a row.
        oldest_needed: Smallest number of a row that is still needed, the padding's aside; asked
            for when the ring is full. `next_number` where none is.

    Attributes:
        next_number: Number of the next row.
    """

    def __init__(self, dtype: np.dtype[Any], oldest_needed: Callable[[], int]) -> None:
        self._rows = np.zeros(1 + _FIRST_ROWS, dtype)
        self._oldest_needed = oldest_needed
        self._oldest = self.next_number = 1

    def append(self, row: NDArray[np.void]) -> int:
        """Keep a row; gives its number."""
        number, places = self.next_number, len(self._rows) - 1
        if number - self._oldest == places:
            self._make_room()
            places = len(self._rows) - 1
        self._rows[1 + (number - 1) % places] = row
        self.next_number = number + 1
        return number

    def rows(self, numbers: NDArray[np.int64]) -> NDArray[np.void]:
        """The rows with these numbers, of any shape: a copy."""
        found: NDArray[np.void] = self._rows[self._places(numbers)]
        return found

    def since(self, oldest: int) -> NDArray[np.void]:
        """All rows from a number on, a copy."""
        return self.rows(np.arange(oldest, self.next_number))

    def restore(self, oldest: int, rows: NDArray[np.void]) -> None:
        """Have these rows alone, numbered from `oldest` on."""
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
