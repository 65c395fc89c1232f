from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.teacher.same_host.row_allocator import RowAllocator

ROWS = 24


@given(st.lists(st.integers(1, ROWS) | st.none(), max_size=60))
def test_ranges_are_the_lowest_that_are_free_and_never_overlap(steps: list[int | None]) -> None:
    # The model: a list of flags, searched from the start. None gives the oldest range back.
    allocator = RowAllocator(ROWS)
    free = [True] * ROWS
    taken: list[tuple[int, int]] = []
    for rows in steps:
        if rows is None:
            if taken:
                first, count = taken.pop(0)
                allocator.give_back(first, count)
                free[first : first + count] = [True] * count
            continue
        places = [i for i in range(ROWS - rows + 1) if all(free[i : i + rows])]
        expected = places[0] if places else None
        assert allocator.take(rows) == expected
        if expected is not None:
            free[expected : expected + rows] = [False] * rows
            taken.append((expected, rows))


def test_everything_given_back_can_be_taken_at_once() -> None:
    allocator = RowAllocator(512)
    ranges = [allocator.take(rows) for rows in (1, 32, 7, 472)]
    assert ranges == [0, 1, 33, 40]  # each begins where the one before ends
    assert allocator.take(1) is None
    for first, rows in zip((0, 1, 33, 40), (1, 32, 7, 472), strict=True):
        allocator.give_back(first, rows)
    assert allocator.take(512) == 0


def test_more_rows_than_there_are_cannot_be_taken() -> None:
    assert RowAllocator(8).take(9) is None
