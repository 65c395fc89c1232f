"""Connections that the clients of a process have in common.

Many small queries are cheapest when they travel together: clients of one process that ask the same
teacher for the same thing share its streams and its shared memory, so that what they ask at the
same time goes in one message. The last client to leave ends them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Connections = TypeVar("Connections")


class Sharing(Generic[Connections]):
    """Connections by what they are for; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[Hashable, tuple[Connections, int]] = {}

    def join(self, key: Hashable, make: Callable[[], Connections]) -> Connections:
        """The connections for a key, made by the first to come.

        Args:
            key: What they are for.
            make: Makes them; what it raises is raised here.
        """
        with self._lock:
            connections, users = self._held.get(key) or (make(), 0)
            self._held[key] = (connections, users + 1)
            return connections

    def leave(self, key: Hashable) -> Connections | None:
        """Use them no more.

        Returns:
            The connections, for the last user to close; None while others use them.
        """
        with self._lock:
            connections, users = self._held.pop(key)
            if users == 1:
                return connections
            self._held[key] = (connections, users - 1)
            return None
