"""Detects connections to replay that died without an error, and tells them from normal waits.

A read or a write may wait for three reasons. First, the table's rate limiter blocks it until the
other side catches up; that may take hours, and nothing is wrong. Second, the server is down; Reverb
reconnects by itself. Third, the connection is dead and neither side has noticed, as when a host is
replaced or a firewall drops its state: Reverb sends no keep-alive, and TCP notices only after 15
minutes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection

from services.replay.connection import table_counts
from services.replay.failures import ReplayTimeout

STALL_SECONDS = 20.0
"""How long a read or a write waits before its rate limiter is checked."""

_ANSWER_SECONDS = 5.0
_CHECKS = 2


class StalledInsertDetector:
    """Finds writes that wait although the table's rate limiter allows inserts.

    Args:
        address: "host:port" of the replay server.
        table: Name of the table that is written to.
        stall_seconds: Time that a write waits before the first check.
        check_seconds: Time between two checks.
    """

    def __init__(
        self, address: str, table: str, *, stall_seconds: float, check_seconds: float
    ) -> None:
        self._address = address
        self._table = table
        self._stall_seconds = stall_seconds
        self._check_seconds = check_seconds
        self.reset()

    def reset(self) -> None:
        """Reset the stall timer: a write has just ended."""
        self._check_at: float | None = None
        self._failed_checks = 0

    def is_stalled(self) -> bool:
        """Whether the connection is dead; call it repeatedly while a write waits.

        It is, if two checks in a row find that the table allows inserts or cannot be reached. One
        check is not enough, since the rate limiter may have allowed inserts just then.
        """
        now = time.monotonic()
        if self._check_at is None:
            self._check_at = now + self._stall_seconds
        if now < self._check_at:
            return False
        self._check_at = now + self._check_seconds
        self._failed_checks = 0 if self._is_held_back() else self._failed_checks + 1
        if self._failed_checks < _CHECKS:
            return False
        self.reset()
        return True

    def _is_held_back(self) -> bool:
        try:
            counts = table_counts(self._address, timeout_seconds=_ANSWER_SECONDS)
        except ReplayTimeout:
            return False
        return not counts[self._table].takes_inserts


class StalledSampleDetector:
    """Finds reads that wait although the tables' rate limiters allow samples.

    Args:
        address: "host:port" of the replay server.
        seconds: Time that a read waits before the first check, and between two checks.
    """

    def __init__(self, address: str, *, seconds: float = STALL_SECONDS) -> None:
        self._address = address
        self._seconds = seconds
        self._waits_since: float | None = None

    def reset(self) -> None:
        """Reset the stall timer: a batch has arrived, or none is requested."""
        self._waits_since = None

    def note_timeout(self) -> None:
        """Start the stall timer unless it runs already: no batch came in time."""
        if self._waits_since is None:
            self._waits_since = time.monotonic()

    def is_stalled(self, tables: Collection[str]) -> bool:
        """Whether to reconnect; called before each read.

        Args:
            tables: Names of the tables that are read.

        Raises:
            ReplayTimeout: the server does not answer.
        """
        now = time.monotonic()
        if self._waits_since is None or now - self._waits_since < self._seconds:
            return False
        self._waits_since = now
        counts = table_counts(self._address)
        if not all(counts[table].gives_samples for table in tables):
            return False
        logging.getLogger(__name__).warning(
            "replay at %s gives no batch though its rate limiters allow one: reconnecting",
            self._address,
        )
        return True
