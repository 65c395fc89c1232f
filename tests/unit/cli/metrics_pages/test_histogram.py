"""Differences and quantiles of Prometheus's histograms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.metrics_pages.histogram import Histogram

INFINITY = float("inf")


@pytest.mark.parametrize(
    ("counts", "q", "expected"),
    [
        # Rank 5 of 10 in (1, 2], which holds the ranks 2 to 8: 1 + (5 - 2) / 6.
        ((2, 8, 10, 10), 0.5, 1.5),
        # Rank 1 of 10 in the first bucket, (0, 1], which holds 2.
        ((2, 8, 10, 10), 0.1, 0.5),
        # Rank 9.9 of 10 in (2, 4], which holds the ranks 8 to 10: 2 + 2 x 1.9 / 2.
        ((2, 8, 10, 10), 0.99, 3.9),
        # Beyond the last finite bound there is nothing to interpolate to.
        ((0, 0, 1, 10), 0.5, 4.0),
        ((0, 0, 0, 0), 0.5, None),
    ],
)
def test_quantiles_follow_prometheus_rule(
    counts: tuple[float, ...], q: float, expected: float | None
) -> None:
    histogram = Histogram((1.0, 2.0, 4.0, INFINITY), counts)
    result = histogram.quantile(q)
    assert result == (None if expected is None else pytest.approx(expected))


def test_a_histogram_without_finite_buckets_has_no_quantile() -> None:
    assert Histogram((INFINITY,), (3.0,)).quantile(0.5) is None


@given(st.lists(st.floats(0, 5), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_of_the_value_with_that_rank(
    values: list[float], q: float
) -> None:
    bounds = (1.0, 2.0, 4.0, INFINITY)
    counts = tuple(float(sum(value <= bound for value in values)) for bound in bounds)
    estimate = Histogram(bounds, counts).quantile(q)
    ranked = sorted(values)
    # The smallest value with at least q of all values at or below it.
    exact = next(v for i, v in enumerate(ranked, 1) if i >= q * len(values))
    upper = next(bound for bound in bounds if exact <= bound)
    lower = max((bound for bound in (0.0, *bounds) if bound < upper), default=0.0)
    assert estimate is not None
    assert lower <= estimate <= (lower if upper == INFINITY else upper)


def test_the_new_values_are_what_the_earlier_histogram_lacks() -> None:
    before = Histogram((1.0, INFINITY), (2.0, 5.0), 9.0)
    now = Histogram((1.0, INFINITY), (3.0, 9.0), 19.0)
    # One of the four new values is at or below 1; their sum is 19 - 9.
    assert now.since(before) == Histogram((1.0, INFINITY), (1.0, 4.0), 10.0)
    assert now.since(before).mean == 2.5
    # It fell, or has other buckets: all of its values are new.
    assert before.since(now) == before
    assert now.since(Histogram((2.0, INFINITY), (0.0, 0.0))) == now
