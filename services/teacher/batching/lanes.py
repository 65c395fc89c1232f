"""Which queries come next: lanes with shares, and turns within a lane.

Lanes share the device by weighted fair queueing, counted in rows: a lane that asks for less than
its share finds the device free for it after the batch under way, one that asks for more gets its
share at least, and none starves. Within a lane queries take turns of a few rows each, so that a
large one holds up a small one by one turn, not by all its rows.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence

from services.teacher.batching.query import Lane, Query

LANE_SHARES = {Lane.ACTING: 16, Lane.LABELLING: 4, Lane.EVALUATION: 1}
"""Rows that each lane gets in turn when all have more work than time."""

LANE_ROOM = {Lane.ACTING: 1.0, Lane.LABELLING: 0.75, Lane.EVALUATION: 0.5}
"""Share of the queue up to which each lane is taken in: a flood of what can wait leaves room."""

ROWS_PER_TURN = 32
"""Rows a query may take before the next query of its lane has its turn."""

_LANES = tuple(Lane)
_TURN = [ROWS_PER_TURN / LANE_SHARES[lane] for lane in Lane]


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
    """Whose turn it is among lanes: the one that, after one more turn, has used least of its share.

    Weighted fair queueing (Demers, Keshav and Shenker, 1989) with turns of one size: of lanes that
    have used equally much, the one with the largest share comes first.
    """

    def __init__(self) -> None:
        self._used = [0.0] * len(Lane)
        self._now = 0.0

    def next_lane(self, waiting_rows: Sequence[int]) -> Lane | None:
        """The lane to serve, or None when nothing waits.

        Args:
            waiting_rows: Rows that wait, by lane.
        """
        waiting = [lane for lane in _LANES if waiting_rows[lane]]
        if not waiting:
            return None
        lane = min(waiting, key=lambda candidate: self._used[candidate] + _TURN[candidate])
        self._now = max(self._now, self._used[lane])
        return lane

    def charge(self, lane: Lane, rows: int) -> None:
        """Note that `rows` of `lane` are served."""
        self._used[lane] += rows / LANE_SHARES[lane]

    def awake(self, lane: Lane) -> None:
        """Note that an empty lane has work again: time it did not use is not saved up."""
        self._used[lane] = max(self._used[lane], self._now)


class LaneQueues:
    """The queries that wait for one policy, by lane."""

    def __init__(self) -> None:
        self._queues = tuple(collections.deque[Query]() for _ in Lane)
        self.rows = [0] * len(Lane)
        """Rows that wait, by lane."""

    def __len__(self) -> int:
        """Number of queries with rows that wait."""
        return sum(map(len, self._queues))

    def add(self, query: Query) -> None:
        """Queue a query behind the others of its lane."""
        self._queues[query.lane].append(query)
        self.rows[query.lane] += query.rows_left

    def oldest_since(self, lane: Lane) -> float:
        """When the query at the lane's head was queued; infinite for an empty lane."""
        queue = self._queues[lane]
        return queue[0].queued_at if queue else float("inf")

    def turns(self, lane: Lane) -> int:
        """Rows that come before a new query of this lane: one turn of each that waits."""
        return min(self.rows[lane], ROWS_PER_TURN * len(self._queues[lane]))

    def take(self, lane: Lane, room: int, is_dead: Callable[[Query], bool]) -> _Taken:
        """Take up to `room` rows of a lane, in turns.

        Args:
            lane: Whose rows.
            room: Most rows.
            is_dead: Whether a query is to be dropped instead.

        Returns:
            The pieces, at most one per query, and the queries dropped on the way.
        """
        queue = self._queues[lane]
        taken: dict[int, Piece] = {}
        dead: list[Query] = []
        while room and queue:
            query = queue.popleft()
            if is_dead(query):
                self.rows[lane] -= query.rows_left
                dead.append(query)
                continue
            start = query.taken
            query.taken += min(room, ROWS_PER_TURN, query.rows_left)
            room -= query.taken - start
            self.rows[lane] -= query.taken - start
            earlier = taken.get(id(query))
            taken[id(query)] = Piece(query, earlier.start if earlier else start, query.taken)
            if query.rows_left:
                queue.append(query)
        return _Taken(list(taken.values()), dead)

    def drop(self, is_dead: Callable[[Query], bool]) -> list[Query]:
        """Take out, and return, all dead queries."""
        dead: list[Query] = []
        for lane, queue in zip(Lane, self._queues, strict=True):
            found: list[Query] = []
            alive: list[Query] = []
            for query in queue:
                # Asked once: one that is cancelled meanwhile must end up on one of the two sides.
                (found if is_dead(query) else alive).append(query)
            if found:
                queue.clear()
                queue.extend(alive)
                self.rows[lane] -= sum(query.rows_left for query in found)
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
