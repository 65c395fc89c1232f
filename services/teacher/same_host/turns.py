"""Threads that wait for answers on one socket take turns reading it.

One reads (the leader); the others wait for a baton each (followers). The leader settles what it
reads, also for the others, and wakes those it settled; when it has what it wanted it wakes one
follower more, which leads then. So there is no thread that only reads, and in the usual case of one
thread no change of threads at all.
"""

from __future__ import annotations

import threading
import time
from typing import TypeAlias

Baton: TypeAlias = threading.Lock
"""Held from the start; its release wakes the follower."""


class Turns:
    """Who reads, and who waits. All under the lock that its owner holds, but for `stand_by`.

    Attributes:
        is_led: Whether somebody reads.
    """

    def __init__(self, lock: threading.Lock) -> None:
        """Take turns under the owner's lock."""
        self.is_led = False
        self._lock = lock
        self._followers: dict[Baton, None] = {}

    def pass_on(self) -> None:
        """Stop leading and wake the follower that has waited longest."""
        self.is_led = False
        for baton in self._followers:
            self.wake(baton)
            break

    def enlist(self, batons: list[Baton]) -> Baton:
        """Become a follower, woken with these batons or to lead."""
        baton = threading.Lock()
        baton.acquire()
        self._followers[baton] = None
        batons.append(baton)
        return baton

    def wake(self, baton: Baton) -> None:
        """Wake a follower, if nobody has."""
        if baton in self._followers:
            del self._followers[baton]
            baton.release()

    def wake_everybody(self) -> None:
        """Wake all followers."""
        for baton in list(self._followers):
            self.wake(baton)

    def stand_by(self, baton: Baton, end: float) -> None:
        """Wait to be woken, until `end` (seconds of `time.monotonic`); without the lock."""
        baton.acquire(timeout=min(max(end - time.monotonic(), 0.0), threading.TIMEOUT_MAX))
        with self._lock:
            self._followers.pop(baton, None)
