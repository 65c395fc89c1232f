"""The order of queries: priorities with shares, and turns between clients within a priority.

Priorities share the device by weighted fair queueing, counted in rows: one that needs less than its
share waits only for the running batch, one that needs more gets at least its share, and none
starves. Within a priority, clients take turns of one query each, so that a client with many queries
delays another by one query, not by all of them.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Hashable, Iterator, Sequence

from rrl_client import Priority
from services.teacher.batching.query import Query

PRIORITY_SHARES = {Priority.ACTING: 16, Priority.LABELLING: 4, Priority.EVALUATION: 1}
"""Relative rows of each priority under full load."""

PRIORITY_ROOM = {Priority.ACTING: 1.0, Priority.LABELLING: 0.75, Priority.EVALUATION: 0.5}
"""Share of the queue that a priority can fill, so that a flood of low priority leaves room."""

ROWS_PER_TURN = 32
"""Rows by which the shares are compared; smaller turns alternate more often."""

_PRIORITIES = tuple(Priority)
_TURN = [ROWS_PER_TURN / PRIORITY_SHARES[priority] for priority in Priority]


class FairShares:
    """Chooses the priority that, after one more turn, has used the least of its share.

    Weighted fair queueing (Demers, Keshav and Shenker, 1989) with turns of one size: on a tie, the
    one with the largest share comes first.
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
        """Record that `rows` of `priority` are served."""
        self._used[priority] += rows / PRIORITY_SHARES[priority]

    def awake(self, priority: Priority) -> None:
        """Record that an empty priority has work again; unused time is not saved up."""
        self._used[priority] = max(self._used[priority], self._now)


class PriorityQueues:
    """The queries that wait for one policy, by priority."""

    def __init__(self) -> None:
        # By client, in the order of their turns.
        self._clients = tuple(
            collections.OrderedDict[Hashable, collections.deque[Query]]() for _ in Priority
        )
        self.rows = [0] * len(Priority)
        """Waiting rows, by priority."""

    def __iter__(self) -> Iterator[Query]:
        """All queries that wait, in no order."""
        for clients in self._clients:
            for queue in clients.values():
                yield from queue

    def add(self, query: Query) -> None:
        """Queue a query behind the others of its client."""
        clients = self._clients[query.priority]
        clients.setdefault(query.client, collections.deque()).append(query)
        self.rows[query.priority] += query.rows

    def head(self, priority: Priority) -> Query | None:
        """The next query of a priority; None if none waits."""
        queue = next(iter(self._clients[priority].values()), None)
        return None if queue is None else queue[0]

    def rows_before(self, query: Query) -> int:
        """Rows ahead of a new query in its priority: its client's, and a turn of each other."""
        return sum(
            sum(other.rows for other in queue) if client == query.client else queue[0].rows
            for client, queue in self._clients[query.priority].items()
        )

    def take(
        self, priority: Priority, room: int, is_dead: Callable[[Query], bool]
    ) -> tuple[list[Query], list[Query]]:
        """Remove queries of a priority, whole and in turns, as long as the next one fits.

        Args:
            priority: Whose.
            room: Most rows.
            is_dead: Whether to drop a query instead.

        Returns:
            The queries taken, and those dropped on the way.
        """
        clients = self._clients[priority]
        taken: list[Query] = []
        dead: list[Query] = []
        while clients:
            client, queue = next(iter(clients.items()))
            dies = is_dead(queue[0])
            if not dies and queue[0].rows > room:
                break
            query = queue.popleft()
            self.rows[priority] -= query.rows
            (dead if dies else taken).append(query)
            if not dies:
                room -= query.rows
                clients.move_to_end(client)
            if not queue:
                del clients[client]
        return taken, dead

    def drop(self, is_dead: Callable[[Query], bool]) -> list[Query]:
        """Remove and return all dead queries."""
        dead: list[Query] = []
        for priority, clients in zip(Priority, self._clients, strict=True):
            for client, queue in list(clients.items()):
                # Evaluated once, so that a query cancelled in between counts only once.
                asked = [(query, is_dead(query)) for query in queue]
                found = [query for query, dies in asked if dies]
                if not found:
                    continue
                dead += found
                self.rows[priority] -= sum(query.rows for query in found)
                alive = [query for query, dies in asked if not dies]
                if alive:
                    clients[client] = collections.deque(alive)
                else:
                    del clients[client]
        return dead
