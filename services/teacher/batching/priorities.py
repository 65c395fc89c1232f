"""Which queries come next: priorities with shares, and turns of the clients within a priority.

Priorities share the device by weighted fair queueing, counted in rows: one that asks for less than
its share finds the device free for it after the batch under way, one that asks for more gets its
share at least, and none starves. Within a priority clients take turns of one query each, so that
a client with many queries holds up another by one query, not by all of them.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Hashable, Iterator, Sequence

from rrl_client import Priority
from services.teacher.batching.query import Query

PRIORITY_SHARES = {Priority.ACTING: 16, Priority.LABELLING: 4, Priority.EVALUATION: 1}
"""Rows that each priority gets in turn when all have more work than time."""

PRIORITY_ROOM = {Priority.ACTING: 1.0, Priority.LABELLING: 0.75, Priority.EVALUATION: 0.5}
"""Share of the queue up to which a priority is taken in: a flood of what can wait leaves room."""

ROWS_PER_TURN = 32
"""Rows by which the shares are compared; smaller turns alternate more often."""

_PRIORITIES = tuple(Priority)
_TURN = [ROWS_PER_TURN / PRIORITY_SHARES[priority] for priority in Priority]


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
        # By client, the one whose turn it is first.
        self._clients = tuple(
            collections.OrderedDict[Hashable, collections.deque[Query]]() for _ in Priority
        )
        self.rows = [0] * len(Priority)
        """Rows that wait, by priority."""

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
        """The query of a priority that is taken next; None where none waits."""
        queue = next(iter(self._clients[priority].values()), None)
        return None if queue is None else queue[0]

    def rows_before(self, query: Query) -> int:
        """Rows that come before a new query of its priority: its client's, and a turn of others."""
        return sum(
            sum(other.rows for other in queue) if client == query.client else queue[0].rows
            for client, queue in self._clients[query.priority].items()
        )

    def take(
        self, priority: Priority, room: int, is_dead: Callable[[Query], bool]
    ) -> tuple[list[Query], list[Query]]:
        """Take queries of a priority out, whole and in turns, as long as the next one fits.

        Args:
            priority: Whose.
            room: Most rows.
            is_dead: Whether a query is to be dropped instead.

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
        """Take out, and return, all dead queries."""
        dead: list[Query] = []
        for priority, clients in zip(Priority, self._clients, strict=True):
            for client, queue in list(clients.items()):
                # Asked once: one that is cancelled in between must end up on one of the two sides.
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
