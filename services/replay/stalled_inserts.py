"""Distinguishes a write that replay holds back from one whose connection is dead.

A write may wait for three reasons. The table's rate limiter holds inserts back until the learner
has sampled more: that may last for hours, and nothing is wrong. The server is unavailable: Reverb
connects again by itself. Or the connection is dead and neither side noticed, as when a host is
replaced or a firewall drops its state: Reverb sends no keep-alive, so that only TCP would notice,
after a quarter of an hour.
"""

from __future__ import annotations

import time

from services.replay.connection import ReplayTimeout, table_counts

_ANSWER_SECONDS = 5.0
_CHECKS = 2


class StalledInsertDetector:
    """Checks the table once a write has waited for long.

    Args:
        address: "host:port" of the replay server.
        table: Which is written to.
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
        """Start again: a write has just ended."""
        self._check_at: float | None = None
        self._failed_checks = 0

    def is_stalled(self) -> bool:
        """Whether the connection is dead; to be called again and again while a write waits.

        Twice in a row the table must take inserts, or be out of reach: it may have opened just now.
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
