"""Which rows of the shared memory are free: contiguous ranges, lowest first.

The free rows are the set bits of one integer, so taking and giving back are a few operations on
it whatever the number of rows. Low rows first keeps a client that has little under way on the same
few pages, which stay in the cache.
"""

from __future__ import annotations


class RowAllocator:
    """Hands out ranges of rows; not safe for threads."""

    def __init__(self, rows: int) -> None:
        """Begin with rows 0 to `rows` - 1 free."""
        self._free = (1 << rows) - 1

    def take(self, rows: int) -> int | None:
        """The first of `rows` adjacent free rows, taken now; None when there are none."""
        # Bit i of `starts` says that rows i to i + covered - 1 are all free.
        starts, covered = self._free, 1
        while covered < rows:
            step = min(covered, rows - covered)
            starts &= starts >> step
            covered += step
        if not starts:
            return None
        first = (starts & -starts).bit_length() - 1
        self._free ^= ((1 << rows) - 1) << first
        return first

    def give_back(self, first: int, rows: int) -> None:
        """Free a range that was taken."""
        self._free |= ((1 << rows) - 1) << first
