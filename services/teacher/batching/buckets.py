"""Chooses the batch size for the waiting rows.

Padding up to the next compiled size is not always cheapest: on a CPU time grows with the padded
rows, so 40 rows may be faster as 32 + 8 than as 64; on a GPU one call is faster. Nor is the largest
size always best: if it costs as much per row as a smaller one, it only adds latency. The times
measured at warm-up decide.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping

import numpy as np

_WORTH_WAITING = 0.9
"""A size is kept if it costs at most this share of running its rows in smaller sizes."""

_ALWAYS_WORTH_ROWS = 32
"""Sizes up to this are always kept: they add little latency, and a batch has fixed costs."""


class BucketPlan:
    """The cheapest way to run any number of rows.

    Attributes:
        largest: The largest worthwhile batch size, in rows.
    """

    def __init__(
        self, seconds_by_bucket: Mapping[int, float], *, dynamic_batch_size: bool = False
    ) -> None:
        """Plan from measurements.

        Args:
            seconds_by_bucket: Batch size in rows (>= 1) -> seconds of one call (> 0); at least one.
            dynamic_batch_size: Whether sizes between the measured ones can run without padding.
        """
        worth = _sizes_worth_having(seconds_by_bucket)
        self._sizes = sorted(seconds_by_bucket)
        self.largest = max(worth)
        self._dynamic_batch_size = dynamic_batch_size
        self._next, cost = _cheapest_first_buckets(worth, self.largest)
        if dynamic_batch_size:
            sizes, seconds = zip(*sorted(worth.items()), strict=True)
            between = np.interp(range(self.largest + 1), (0, *sizes), (0.0, *seconds))
            cost = [float(value) for value in between]
        self._cost = cost

    @property
    def capacity(self) -> int:
        """The largest batch size, in rows, and so the largest query."""
        return self._sizes[-1]

    def next_bucket(self, waiting_rows: int) -> int:
        """The batch size to run now when `waiting_rows` (>= 1) wait.

        If more rows wait than the largest size, a full batch of that size runs first.
        """
        rows = min(waiting_rows, self.largest)
        return rows if self._dynamic_batch_size else self._next[rows]

    def holding(self, rows: int) -> int:
        """The batch size to run for queries that stay together.

        Args:
            rows: Their total rows, 1 to `capacity`.
        """
        if self._dynamic_batch_size:
            return rows
        return self._sizes[bisect.bisect_left(self._sizes, rows)]

    def seconds(self, rows: int) -> float:
        """Seconds to run `rows` (>= 0) rows as planned, by the times at warm-up."""
        full, rest = divmod(rows, self.largest)
        return full * self._cost[self.largest] + self._cost[rest]


def _sizes_worth_having(seconds_by_bucket: Mapping[int, float]) -> dict[int, float]:
    """Drop sizes that save little over running their rows in smaller sizes."""
    worth: dict[int, float] = {}
    for size, seconds in sorted(seconds_by_bucket.items()):
        if (
            size <= _ALWAYS_WORTH_ROWS
            or not worth
            or seconds <= _WORTH_WAITING * _cheapest_first_buckets(worth, size)[1][size]
        ):
            worth[size] = seconds
    return worth


def _cheapest_first_buckets(
    seconds_by_bucket: Mapping[int, float], largest: int
) -> tuple[list[int], list[float]]:
    """For each number of rows, the first size of its cheapest decomposition, and the cost.

    cost(n) = min over sizes b of seconds(b) + cost(max(n - b, 0)), cost(0) = 0. Of equal costs the
    largest first size wins: fewer calls, and the oldest rows are answered together.
    """
    cost = [0.0]
    first = [0]
    for rows in range(1, largest + 1):
        seconds, size = min(
            (seconds + cost[max(rows - size, 0)], -size)
            for size, seconds in seconds_by_bucket.items()
        )
        cost.append(seconds)
        first.append(-size)
    return first, cost
