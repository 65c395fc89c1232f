from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.library.fetch.retries import Interrupted, Patience, RetryPolicy
from services.shared.errors import UserError


@given(st.integers(min_value=1, max_value=10_000))
def test_pauses_double_up_to_the_longest(failures: int) -> None:
    policy = RetryPolicy(first_pause_seconds=0.5, longest_pause_seconds=30.0)
    # 0.5, 1, 2, 4, 8, 16, 30, 30, ...; drawn between half and all of it.
    whole = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)[failures - 1] if failures <= 6 else 30.0
    assert whole / 2 <= policy.pause_seconds(failures, None) <= whole


def test_a_pause_that_is_asked_for_is_kept_within_reason() -> None:
    policy = RetryPolicy()
    assert policy.pause_seconds(1, 7.0) == 7.0
    assert policy.pause_seconds(1, 9999.0) == 120.0
    assert policy.pause_seconds(6, 1.0) >= 8.0


def test_patience_ends_after_failures_in_a_row_and_is_renewed_by_gains() -> None:
    told: list[str] = []
    quick = RetryPolicy(attempts=3, first_pause_seconds=0.0, longest_pause_seconds=0.0)
    patience = Patience(quick, told.append)
    for _ in range(5):
        patience.bear(Interrupted("lost"), "ckpt.1")
        patience.bear(Interrupted("lost"), "ckpt.1")
        patience.renew()
    assert told[:2] == [
        "ckpt.1: lost; attempt 2 of 3 in 0.0 s",
        "ckpt.1: lost; attempt 3 of 3 in 0.0 s",
    ]
    patience.bear(Interrupted("lost"), "ckpt.1")
    patience.bear(Interrupted("lost"), "ckpt.1")
    with pytest.raises(UserError, match=r"given up after 3 attempts in a row \(lost\).*goes on"):
        patience.bear(Interrupted("lost"), "ckpt.1")


@pytest.mark.parametrize(
    "fields",
    [
        {"attempts": 0},
        {"first_pause_seconds": -1.0},
        {"first_pause_seconds": 31.0},
        {"first_pause_seconds": float("nan")},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        RetryPolicy(**fields)  # type: ignore[arg-type]
