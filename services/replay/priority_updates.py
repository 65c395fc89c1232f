"""Sends new priorities of sampled items back to their table, without delaying the learner.

    learner --put--> queue of the newest updates --> thread --one request for all--> Reverb table
                       |                               |
                       +-- full: drops the oldest      +-- connection lost: logged, these updates
                                                           are lost; server down: waits for it

A lost or late update costs little: the item keeps its older priority until it is drawn again.
Reverb skips items that have left the table.
"""

from __future__ import annotations

import collections
import logging
import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl_agents.types import Array
from services.replay.reverb_library import reverb
from services.shared.logging import Occasionally

_MAX_WAITING = 64
"""Most updates in the queue: about one second of a fast learner; 2,048 items at batches of 32."""

_CLOSE_SECONDS = 2.0
"""Longest wait in `close`: a running server takes milliseconds, but gRPC waits forever for one that
is down."""

_LOG_PERIOD_SECONDS = 60.0

_SMALLEST = 1e-10
"""Added to each priority, as in Dopamine: an item of priority 0 would never be drawn again."""


class _Update(NamedTuple):
    item_key: NDArray[np.uint64]
    wanted: NDArray[np.bool_]
    priority: Array


class PriorityUpdates:
    """Sends the priorities of one table's items, on its own thread.

    Args:
        address: "host:port" of the replay server.
        table: Name of the table.

    Attributes:
        largest: The largest priority sent so far, 0 before the first.
    """

    def __init__(self, address: str, table: str) -> None:
        self._client = reverb.Client(address)
        self._table = table
        self._waiting: collections.deque[_Update] = collections.deque(maxlen=_MAX_WAITING)
        self._changed = threading.Condition()
        self._closed = False
        self.largest = 0.0
        self._should_log = Occasionally(_LOG_PERIOD_SECONDS)
        self._thread = threading.Thread(target=self._run, name=f"priorities-{table}", daemon=True)
        self._thread.start()

    def put(self, item_key: NDArray[np.uint64], wanted: NDArray[np.bool_], priority: Array) -> None:
        """Queue the priorities of one batch; returns at once.

        Args:
            item_key: uint64 [B], keys of the items.
            wanted: bool [B], which of them to send.
            priority: float [B or more], at least 0; rows beyond B, which pad a block, are ignored.
                If a device is still computing the array, the thread waits for it. Rows that are
                negative or not finite are left out.
        """
        with self._changed:
            self._waiting.append(_Update(item_key, wanted, priority))
            self._changed.notify()

    def close(self) -> None:
        """Send the queued updates, for at most `_CLOSE_SECONDS`, and stop the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while updates := self._take_all():
            try:
                priorities = newest_priorities(updates)
                self._client.mutate_priorities(self._table, priorities)
                self.largest = max((self.largest, *priorities.values()))
            except RuntimeError as error:
                if self._should_log():
                    logging.getLogger(__name__).warning(
                        "priorities for replay table %r were lost: %s", self._table, error
                    )

    def _take_all(self) -> list[_Update]:
        """All queued updates, at least one; empty once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            updates = list(self._waiting)
            self._waiting.clear()
            return updates


def newest_priorities(updates: list[_Update]) -> dict[int, float]:
    """Item key -> priority; if an item occurs more than once, its last priority counts."""
    priorities: dict[int, float] = {}
    for item_key, wanted, priority in updates:
        values = np.asarray(priority, np.float64)[: len(item_key)]
        rows = wanted & (values >= 0) & (values < np.inf)
        priorities.update(
            zip(item_key[rows].tolist(), (values[rows] + _SMALLEST).tolist(), strict=True)
        )
    return priorities
