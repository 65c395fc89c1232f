"""Numbered rows in memory."""

from __future__ import annotations

import numpy as np

from services.replay.row_ring import PADDING_ROW, RowRing

DTYPE = np.dtype([("value", np.int64)])


class Needed:
    """Says which rows are still needed."""

    def __init__(self) -> None:
        self.oldest = 1

    def __call__(self) -> int:
        return self.oldest


def row(value: int) -> np.ndarray:
    made = np.zeros((), DTYPE)
    made["value"] = value
    return made


def values(ring: RowRing, *numbers: int) -> list[int]:
    found: list[int] = ring.rows(np.array(numbers, np.int64))["value"].tolist()
    return found


def test_rows_are_numbered_from_1_and_number_0_is_a_row_of_zeros() -> None:
    ring = RowRing(DTYPE, Needed())
    assert [ring.append(row(10 * number)) for number in (1, 2, 3)] == [1, 2, 3]
    assert values(ring, 3, PADDING_ROW, 1) == [30, 0, 10]


def test_it_grows_while_all_rows_are_needed() -> None:
    ring = RowRing(DTYPE, Needed())
    for number in range(1, 10_001):
        ring.append(row(number))
    assert values(ring, 1, 5_000, 10_000, PADDING_ROW) == [1, 5_000, 10_000, 0]


def test_rows_that_are_not_needed_make_room_and_the_others_stay() -> None:
    needed = Needed()
    ring = RowRing(DTYPE, needed)
    for number in range(1, 100_001):
        needed.oldest = max(1, number - 900)
        ring.append(row(number))
        if number % 997 == 0:
            oldest = max(1, number - 900)
            assert values(ring, oldest, number) == [oldest, number]
    # 900 rows are needed: it grew once at most.
    assert len(ring._rows) <= 1 + 1_536


def test_it_continues_from_rows_that_were_restored() -> None:
    ring = RowRing(DTYPE, Needed())
    for number in range(1, 2_001):
        ring.append(row(number))
    saved = ring.since(1_500)
    other = RowRing(DTYPE, Needed())
    other.restore(1_500, saved)
    assert other.append(row(2_001)) == 2_001
    assert values(other, 1_500, 2_000, 2_001, PADDING_ROW) == [1_500, 2_000, 2_001, 0]
