"""New priorities of sampled items, on their way back to the table without holding up the learner.

    learner --put--> the newest few updates --> a thread --one request for all--> Reverb table
                       |                          |
                       +-- full: the oldest goes  +-- cut off: logged, these updates are lost;
                                                      no server: waits until it is up

An update that is lost, or late, costs little: the item keeps its older priority until it is drawn
again. Reverb skips items that have left the table.
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
"""Updates: a second of a fast learner's, and 2,048 items in one request at batches of 32."""

_CLOSE_SECONDS = 2.0
"""A server that is up takes some milliseconds; gRPC waits without end for one that is down."""

_LOG_PERIOD_SECONDS = 60.0

_SMALLEST = 1e-10
"""Added to each priority, as Dopamine does: an item of priority 0 would never be drawn again."""


class _Update(NamedTuple):
    item_key: NDArray[np.uint64]
    wanted: NDArray[np.bool_]
    priority: Array


class PriorityUpdates:
    """Sends the priorities of one table's items from a thread of its own.

    Args:
        address: "host:port" of the replay server.
        table: Whose items they are.

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
        """Hand in the priorities of one batch; returns at once.

        Args:
            item_key: uint64 [B].
            wanted: bool [B], whose priorities to send.
            priority: float [B], at least 0; rows behind these, of a block that is filled up, say
                nothing. An array that a device is still working on is waited
                for by the thread; a row that is not a number is left out.
        """
        with self._changed:
            self._waiting.append(_Update(item_key, wanted, priority))
            self._changed.notify()

    def close(self) -> None:
        """Send what waits, for a few seconds at most, and end."""
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
        """All that waits, at least one; empty once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            updates = list(self._waiting)
            self._waiting.clear()
            return updates


def newest_priorities(updates: list[_Update]) -> dict[int, float]:
    """Item key -> priority; of an item in several updates, or twice in one, the last counts."""
    priorities: dict[int, float] = {}
    for item_key, wanted, priority in updates:
        values = np.asarray(priority, np.float64)[: len(item_key)]
        rows = wanted & (values >= 0) & (values < np.inf)
        priorities.update(
            zip(item_key[rows].tolist(), (values[rows] + _SMALLEST).tolist(), strict=True)
        )
    return priorities
