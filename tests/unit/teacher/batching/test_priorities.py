"""Priorities: shares of rows among priorities, turns within one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rrl_client import Priority
from services.teacher.batching.priorities import (
    PRIORITY_SHARES,
    ROWS_PER_TURN,
    FairShares,
    PriorityQueues,
)
from services.teacher.batching.query import Query


class Nobody:
    def settled(self, queries: Sequence[Query]) -> None: ...


def query(rows: int, priority: Priority = Priority.ACTING) -> Query:
    return Query(
        np.zeros((rows, 1), np.uint8),
        np.zeros((rows, 1), np.float32),
        deadline=1e9,
        priority=priority,
        sink=Nobody(),
    )


def alive(_: Query) -> bool:
    return False


def test_priorities_with_endless_work_get_their_shares() -> None:
    shares = FairShares()
    served = dict.fromkeys(Priority, 0)
    for _ in range(2100):
        priority = shares.next_priority([1, 1, 1])
        assert priority is not None
        shares.charge(priority, 1)
        served[priority] += 1
    # 16 : 4 : 1 of 2,100 rows.
    # But for the turns at the beginning, which go to the larger shares first.
    for priority, fair in (
        (Priority.ACTING, 1600),
        (Priority.LABELLING, 400),
        (Priority.EVALUATION, 100),
    ):
        assert abs(served[priority] - fair) <= 4 * ROWS_PER_TURN
    assert served[Priority.EVALUATION] > 0


def test_an_idle_time_is_not_saved_up() -> None:
    shares = FairShares()
    for _ in range(1000):
        assert shares.next_priority([1, 0, 0]) is Priority.ACTING
        shares.charge(Priority.ACTING, 16)
    shares.awake(Priority.EVALUATION)
    turns = []
    for _ in range(34):
        priority = shares.next_priority([1, 0, 1])
        assert priority is not None
        shares.charge(priority, 1)
        turns.append(priority)
    # Never twice before acting has had 16 rows, not a thousand in a row.
    assert turns.count(Priority.EVALUATION) <= 2


def test_nothing_waiting_is_nobodys_turn() -> None:
    assert FairShares().next_priority([0, 0, 0]) is None


@given(
    waiting=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=50, max_size=200),
    rows=st.integers(1, 128),
)
def test_a_priority_with_work_is_served_within_the_shares_of_the_others(
    waiting: list[list[bool]], rows: int
) -> None:
    shares = FairShares()
    without = dict.fromkeys(Priority, 0.0)
    before = [False] * 3
    for busy in waiting:
        for priority in Priority:
            if busy[priority] and not before[priority]:
                shares.awake(priority)
                without[priority] = 0
        before = busy
        priority = shares.next_priority([int(b) for b in busy])
        if priority is None:
            continue
        shares.charge(priority, rows)
        for other in Priority:
            if busy[other]:
                without[other] = 0 if other is priority else without[other] + rows
            # While it waits, every other one gets at most what its share is beside a batch and two
            # turns of this priority's, and two turns and a batch more.
            fair = sum(
                (rows + 2 * ROWS_PER_TURN) * PRIORITY_SHARES[o] / PRIORITY_SHARES[other]
                + rows
                + 2 * ROWS_PER_TURN
                for o in Priority
            )
            assert without[other] <= fair


@given(sizes=st.lists(st.integers(1, 100), min_size=1, max_size=12), room=st.integers(1, 64))
def test_every_row_is_taken_once_in_order(sizes: list[int], room: int) -> None:
    queues = PriorityQueues()
    queries = [query(size) for size in sizes]
    for made in queries:
        queues.add(made)
    seen: dict[int, int] = {id(made): 0 for made in queries}
    while len(queues):
        taken = queues.take(Priority.ACTING, room, alive)
        assert sum(piece.rows for piece in taken.pieces) <= room
        for piece in taken.pieces:
            assert piece.start == seen[id(piece.query)] < piece.stop
            seen[id(piece.query)] = piece.stop
    assert [seen[id(made)] for made in queries] == sizes
    assert queues.rows == [0, 0, 0]


def test_a_query_alone_fills_the_room_in_one_piece() -> None:
    queues = PriorityQueues()
    queues.add(query(100))
    (piece,) = queues.take(Priority.ACTING, 80, alive).pieces
    assert (piece.start, piece.stop) == (0, 80)
    assert queues.rows[Priority.ACTING] == 20


def test_a_turn_is_bounded_when_others_wait() -> None:
    queues = PriorityQueues()
    large, small = query(100), query(1)
    queues.add(large)
    queues.add(small)
    taken = queues.take(Priority.ACTING, ROWS_PER_TURN + 1, alive).pieces
    assert [(piece.query, piece.rows) for piece in taken] == [(large, ROWS_PER_TURN), (small, 1)]


def test_what_is_dropped_leaves_no_rows_behind() -> None:
    queues = PriorityQueues()
    dead, living = query(5), query(7, Priority.LABELLING)
    queues.add(dead)
    queues.add(living)
    assert queues.drop(lambda asked: asked is dead) == [dead]
    assert queues.rows == [0, 7, 0]
    assert (len(queues), queues.earliest_deadline()) == (1, 1e9)


def test_a_query_cancelled_while_the_dead_are_looked_for_is_not_lost() -> None:
    queues = PriorityQueues()
    cancelled_meanwhile, late = query(7), query(5)
    queues.add(cancelled_meanwhile)
    queues.add(late)

    def is_dead(asked: Query) -> bool:
        found = asked is late or asked.cancelled
        # As its client's thread may do at any moment, here right after the question.
        cancelled_meanwhile.cancelled = True
        return found

    assert queues.drop(is_dead) == [late]
    assert (queues.rows, len(queues)) == ([7, 0, 0], 1)
    assert queues.drop(is_dead) == [cancelled_meanwhile]
    assert (queues.rows, len(queues)) == ([0, 0, 0], 0)
