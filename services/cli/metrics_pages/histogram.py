"""Histograms as Prometheus writes them: their differences and their quantiles."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Histogram:
    """A classic histogram.

    Attributes:
        bounds: Upper bounds of the buckets, ascending.
        counts: Values at or below each bound.
        total: Sum of the values.
    """

    bounds: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()
    total: float = 0.0

    @property
    def count(self) -> float:
        """Number of values."""
        return self.counts[-1] if self.counts else 0.0

    @property
    def mean(self) -> float | None:
        """None where there are no values."""
        return self.total / self.count if self.count > 0 else None

    def since(self, before: Histogram) -> Histogram:
        """The values that are new; all where the histogram started again from 0."""
        if before.bounds != self.bounds or before.count > self.count:
            return self
        counts = (new - old for old, new in zip(before.counts, self.counts, strict=True))
        return Histogram(self.bounds, tuple(counts), self.total - before.total)

    def quantile(self, q: float) -> float | None:
        """The value that a share `q` of the values stays at or below.

        Interpolated linearly within its bucket, the first of which begins at 0; beyond the last
        finite bound it is that bound. That is Prometheus's rule for classic histograms
        (`histogram_quantile`), for values at or above 0.

        Args:
            q: 0 to 1.

        Returns:
            The value; None where there are none.
        """
        if not self.count > 0 or len(self.bounds) < 2:
            return None
        rank = q * self.count
        lower, below = 0.0, 0.0
        for bound, count in zip(self.bounds[:-1], self.counts[:-1], strict=True):
            if count >= rank:
                share = (rank - below) / (count - below) if count > below else 1.0
                return lower + (bound - lower) * share
            lower, below = bound, count
        return lower
