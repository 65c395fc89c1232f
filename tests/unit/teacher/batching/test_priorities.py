"""Priorities: shares of rows among priorities, turns within one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

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


class Unheard:
    def settled(self, queries: Sequence[Query]) -> None: ...


def query(rows: int, priority: Priority = Priority.ACTING, client: Hashable = "client") -> Query:
    return Query(
        np.zeros((rows, 1), np.uint8),
        deadline=1e9,
        priority=priority,
        client=client,
        sink=Unheard(),
    )


def queues_of(*queries: Query) -> PriorityQueues:
    made = PriorityQueues()
    for each in queries:
        made.add(each)
    return made


def alive(_: Query) -> bool:
    return False


def test_priorities_with_endless_work_get_their_shares() -> None:
    shares = FairShares()
    assert shares.next_priority([0, 0, 0]) is None
    served = dict.fromkeys(Priority, 0)
    for _ in range(2100):
        priority = shares.next_priority([1, 1, 1])
        assert priority is not None
        shares.charge(priority, 1)
        served[priority] += 1
    # 16 : 4 : 1 of 2,100 rows.
    # But for the turns at the beginning, which go to the larger shares first.
    for priority, fair in zip(Priority, (1600, 400, 100), strict=True):
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


@given(
    # Which of the three priorities have work: a subset of them at a time, drawn as one number.
    waiting=st.lists(st.integers(0, 7), min_size=50, max_size=200),
    rows=st.integers(1, 128),
)
def test_a_priority_with_work_is_served_within_the_shares_of_the_others(
    waiting: list[int], rows: int
) -> None:
    shares = FairShares()
    without = dict.fromkeys(Priority, 0.0)
    before = [False] * 3
    for subset in waiting:
        busy = [bool(subset >> priority & 1) for priority in Priority]
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


@given(
    sizes=st.lists(st.tuples(st.integers(1, 100), st.integers(0, 2)), min_size=1, max_size=12),
    room=st.integers(100, 164),
)
def test_every_query_is_taken_once_whole_and_in_its_clients_order(
    sizes: list[tuple[int, int]], room: int
) -> None:
    queries = [query(size, client=client) for size, client in sizes]
    queues = queues_of(*queries)
    seen: list[Query] = []
    while any(queues.rows):
        taken, dead = queues.take(Priority.ACTING, room, alive)
        assert taken and not dead
        assert sum(one.rows for one in taken) <= room
        seen += taken
    for client in range(3):
        asked = [made for made in queries if made.client == client]
        assert [made for made in seen if made.client == client] == asked
    assert len(seen) == len(queries)
    assert queues.rows == [0, 0, 0]


def test_a_query_that_does_not_fit_stays_first() -> None:
    large = query(80, client="other")
    queues = queues_of(query(5), large, query(1))
    taken, _ = queues.take(Priority.ACTING, 40, alive)
    assert [one.rows for one in taken] == [5]
    assert queues.head(Priority.ACTING) is large
    assert queues.rows[Priority.ACTING] == 81


def test_clients_take_turns() -> None:
    many = [query(10, client="many") for _ in range(3)]
    one = query(1, client="one")
    queues = queues_of(*many, one)
    # One of the others' queries, and all of its own client's.
    assert queues.rows_before(query(1, client="third")) == 11
    assert queues.rows_before(query(1, client="many")) == 31
    taken, _ = queues.take(Priority.ACTING, 64, alive)
    assert taken == [many[0], one, many[1], many[2]]


def test_the_dead_are_dropped_on_the_way_and_take_no_room() -> None:
    dead, living = query(30), query(20)
    queues = queues_of(dead, living)
    taken, dropped = queues.take(Priority.ACTING, 20, lambda asked: asked is dead)
    assert (taken, dropped) == ([living], [dead])
    assert queues.rows == [0, 0, 0]


def test_a_query_cancelled_while_the_dead_are_looked_for_is_not_lost() -> None:
    cancelled_meanwhile, late, living = query(7), query(5), query(3, Priority.LABELLING)
    queues = queues_of(cancelled_meanwhile, late, living)

    def is_dead(asked: Query) -> bool:
        found = asked is late or asked.cancelled
        # As its client's thread may do at any moment, here right after the question.
        cancelled_meanwhile.cancelled = True
        return found

    assert queues.drop(is_dead) == [late]
    assert (queues.rows, [*queues]) == ([7, 3, 0], [cancelled_meanwhile, living])
    assert queues.drop(is_dead) == [cancelled_meanwhile]
    assert (queues.rows, [*queues]) == ([0, 3, 0], [living])
