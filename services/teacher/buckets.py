"""Which compiled batch size to run for the rows that wait.

Padding up to the next size is not always cheapest: on a CPU time grows with the padded rows, so 40
rows may be better run as 32 + 8 than as one 64; on a GPU one call is. The times measured at warm-up
decide.
"""

from __future__ import annotations

from collections.abc import Mapping


class BucketPlan:
    """The cheapest way to run any number of rows through fixed batch sizes."""

    def __init__(self, seconds_by_bucket: Mapping[int, float]) -> None:
        """Plan from measurements.

        Args:
            seconds_by_bucket: Batch size in rows (>= 1) -> seconds of one call (> 0).

        Raises:
            ValueError: No sizes, or a size or time out of range.
        """
        if not seconds_by_bucket or min(seconds_by_bucket) < 1:
            raise ValueError(f"buckets are {sorted(seconds_by_bucket)}; give sizes from 1 on")
        if not min(seconds_by_bucket.values()) > 0:
            raise ValueError(f"times are {dict(seconds_by_bucket)}; all must be above 0 s")
        self._largest = max(seconds_by_bucket)
        self._next = _cheapest_first_buckets(seconds_by_bucket, self._largest)

    @property
    def largest(self) -> int:
        """The largest batch size, in rows."""
        return self._largest

    def next_bucket(self, waiting_rows: int) -> int:
        """The batch size to run now when `waiting_rows` (>= 1) wait.

        Of more rows than the largest size holds, a full one of that size is run first.
        """
        return self._next[min(waiting_rows, self._largest)]


def _cheapest_first_buckets(seconds_by_bucket: Mapping[int, float], largest: int) -> list[int]:
    """For each number of rows the first size of its cheapest decomposition.

    cost(n) = min over sizes b of seconds(b) + cost(max(n - b, 0)), cost(0) = 0. Among equals the
    largest size goes first: fewer calls, and the oldest rows get their answers together.
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
    return first
