from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.teacher.batching.buckets import BucketPlan


def test_where_time_grows_with_rows_forty_rows_run_as_thirty_two_and_eight() -> None:
    # 32 + 8 costs 34 s, a padded 64 costs 44 s.
    plan = BucketPlan({1: 1.5, 8: 8.0, 32: 26.0, 64: 44.0})
    assert plan.next_bucket(40) == 32
    assert plan.next_bucket(8) == 8
    # 33 = 32 + 1 costs 27.5 s.
    assert plan.next_bucket(33) == 32
    assert plan.next_bucket(1) == 1
    assert plan.seconds(40) == pytest.approx(34.0)
    # 200 = 3 x 64 + 8.
    assert plan.seconds(200) == pytest.approx(3 * 44 + 8)


def test_a_size_that_saves_nothing_over_smaller_ones_is_never_run() -> None:
    # 64 rows cost 4 s in one call and 4.1 s in two: not worth making the first 32 wait.
    plan = BucketPlan({1: 1.5, 32: 2.05, 64: 4.0, 128: 9.0})
    assert plan.largest == 32
    assert plan.next_bucket(128) == 32


def test_small_sizes_are_kept_though_they_save_nothing() -> None:
    # A batch has costs beside the forward.
    plan = BucketPlan({1: 1.0, 4: 4.0, 32: 32.0, 64: 64.0}, dynamic_batch_size=True)
    assert plan.largest == 32


def test_where_any_size_may_run_nothing_is_padded() -> None:
    plan = BucketPlan({1: 1.0, 4: 2.0, 8: 3.0}, dynamic_batch_size=True)
    assert [plan.next_bucket(rows) for rows in (1, 3, 6, 8, 100)] == [1, 3, 6, 8, 8]
    # Halfway between 4 and 8 rows.
    assert plan.seconds(6) == pytest.approx(2.5)


def test_where_a_call_costs_the_same_at_any_size_one_padded_call_is_run() -> None:
    plan = BucketPlan({1: 1.0, 8: 1.0, 32: 1.1})
    # 9 rows: 8 + 1 costs 2.0 s, one padded 32 costs 1.1 s.
    assert plan.next_bucket(9) == 32
    assert plan.next_bucket(5) == 8


def test_more_rows_than_the_largest_size_run_a_full_one_first() -> None:
    plan = BucketPlan({1: 1.0, 4: 2.0})
    assert plan.next_bucket(1000) == 4
    assert plan.largest == 4


@given(
    st.dictionaries(st.integers(1, 40), st.floats(0.01, 10.0), min_size=1, max_size=4),
    st.integers(1, 40),
)
def test_following_the_plan_costs_hardly_more_than_any_decomposition(
    seconds_by_bucket: dict[int, float], rows: int
) -> None:
    @functools.cache
    def cheapest(left: int) -> float:
        if left <= 0:
            return 0.0
        return min(seconds + cheapest(left - size) for size, seconds in seconds_by_bucket.items())

    plan = BucketPlan(seconds_by_bucket)
    spent, left = 0.0, rows
    while left > 0:
        size = plan.next_bucket(left)
        spent += seconds_by_bucket[size]
        left -= size
    if rows <= plan.largest:
        assert spent == pytest.approx(plan.seconds(rows))
        # Larger sizes that save less than a tenth are left out.
        assert spent <= cheapest(rows) / 0.9 + 1e-9


def test_queries_that_stay_together_run_in_the_smallest_size_that_holds_them() -> None:
    seconds = {1: 1.0, 8: 4.0, 64: 40.0}
    padded, exact = BucketPlan(seconds), BucketPlan(seconds, dynamic_batch_size=True)
    # Eight batches of 8 cost less than one of 64: worth running only for a query that large.
    assert (padded.largest, padded.capacity) == (8, 64)
    assert [padded.holding(rows) for rows in (1, 2, 8, 9, 64)] == [1, 8, 8, 64, 64]
    assert [exact.holding(rows) for rows in (1, 2, 9)] == [1, 2, 9]
