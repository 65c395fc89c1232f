"""Which queries come next: priorities with shares, and turns within a priority.

Priorities share the device by weighted fair queueing, counted in rows: one that asks for less than
its share finds the device free for it after the batch under way, one that asks for more gets its
share at least, and none starves. Within a priority queries take turns of a few rows each, so that a
large one holds up a small one by one turn, not by all its rows.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence

from rrl_client import Priority
from services.teacher.batching.query import Query

PRIORITY_SHARES = {Priority.ACTING: 16, Priority.LABELLING: 4, Priority.EVALUATION: 1}
"""Rows that each priority gets in turn when all have more work than time."""

PRIORITY_ROOM = {Priority.ACTING: 1.0, Priority.LABELLING: 0.75, Priority.EVALUATION: 0.5}
"""Share of the queue up to which a priority is taken in: a flood of what can wait leaves room."""

ROWS_PER_TURN = 32
"""Rows a query may take before the next query of its priority has its turn."""

_PRIORITIES = tuple(Priority)
_TURN = [ROWS_PER_TURN / PRIORITY_SHARES[priority] for priority in Priority]


@dataclasses.dataclass(frozen=True)
class Piece:
    """Some rows of one query, for one batch."""

    query: Query
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.stop - self.start


class FairShares:
    """Whose turn it is: the priority that, after one more turn, has used least of its share.

    Weighted fair queueing (Demers, Keshav and Shenker, 1989) with turns of one size: of those that
    have used equally much, the one with the largest share comes first.
    """

    def __init__(self) -> None:
        self._used = [0.0] * len(Priority)
        self._now = 0.0

    def next_priority(self, waiting_rows: Sequence[int]) -> Priority | None:
        """The priority to serve, or None when nothing waits.

        Args:
            waiting_rows: Rows that wait, by priority.
        """
        waiting = [priority for priority in _PRIORITIES if waiting_rows[priority]]
        if not waiting:
            return None
        priority = min(waiting, key=lambda candidate: self._used[candidate] + _TURN[candidate])
        self._now = max(self._now, self._used[priority])
        return priority

    def charge(self, priority: Priority, rows: int) -> None:
        """Note that `rows` of `priority` are served."""
        self._used[priority] += rows / PRIORITY_SHARES[priority]

    def awake(self, priority: Priority) -> None:
        """Note that an empty priority has work again: time it did not use is not saved up."""
        self._used[priority] = max(self._used[priority], self._now)


class PriorityQueues:
    """The queries that wait for one policy, by priority."""

    def __init__(self) -> None:
        self._queues = tuple(collections.deque[Query]() for _ in Priority)
        self.rows = [0] * len(Priority)
        """Rows that wait, by priority."""

    def __len__(self) -> int:
        """Number of queries with rows that wait."""
        return sum(map(len, self._queues))

    def add(self, query: Query) -> None:
        """Queue a query behind the others of its priority."""
        self._queues[query.priority].append(query)
        self.rows[query.priority] += query.rows_left

    def oldest_since(self, priority: Priority) -> float:
        """When the query at the priority's head was queued; infinite for an empty priority."""
        queue = self._queues[priority]
        return queue[0].queued_at if queue else float("inf")

    def turns(self, priority: Priority) -> int:
        """Rows that come before a new query of this priority: one turn of each that waits."""
        return min(self.rows[priority], ROWS_PER_TURN * len(self._queues[priority]))

    def take(self, priority: Priority, room: int, is_dead: Callable[[Query], bool]) -> _Taken:
        """Take up to `room` rows of a priority, in turns.

        Args:
            priority: Whose rows.
            room: Most rows.
            is_dead: Whether a query is to be dropped instead.

        Returns:
            The pieces, at most one per query, and the queries dropped on the way.
        """
        queue = self._queues[priority]
        taken: dict[int, Piece] = {}
        dead: list[Query] = []
        while room and queue:
            query = queue.popleft()
            if is_dead(query):
                self.rows[priority] -= query.rows_left
                dead.append(query)
                continue
            start = query.taken
            query.taken += min(room, ROWS_PER_TURN, query.rows_left)
            room -= query.taken - start
            self.rows[priority] -= query.taken - start
            earlier = taken.get(id(query))
            taken[id(query)] = Piece(query, earlier.start if earlier else start, query.taken)
            if query.rows_left:
                queue.append(query)
        return _Taken(list(taken.values()), dead)

    def drop(self, is_dead: Callable[[Query], bool]) -> list[Query]:
        """Take out, and return, all dead queries."""
        dead: list[Query] = []
        for priority, queue in zip(Priority, self._queues, strict=True):
            found: list[Query] = []
            alive: list[Query] = []
            for query in queue:
                # Asked once: one that is cancelled meanwhile must end up on one of the two sides.
                (found if is_dead(query) else alive).append(query)
            if found:
                queue.clear()
                queue.extend(alive)
                self.rows[priority] -= sum(query.rows_left for query in found)
                dead += found
        return dead

    def earliest_deadline(self) -> float:
        """The first deadline among those that wait; infinite when nothing does."""
        return min(
            (query.deadline for queue in self._queues for query in queue), default=float("inf")
        )


@dataclasses.dataclass(frozen=True)
class _Taken:
    pieces: list[Piece]
    dead: list[Query]
