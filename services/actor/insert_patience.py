"""How long an actor waits for replay to take what it wrote, and when it had better begin anew.

A write may wait for three reasons. The table's rate limiter holds inserts back until the learner
has sampled more: that may last for hours, and nothing is wrong. The server is away: Reverb connects
again by itself. Or the connection is dead and nobody said so, as when a host is replaced or a
firewall forgets: Reverb asks for no sign of life, so that only TCP would notice, after a quarter of
an hour.
"""

from __future__ import annotations

import logging
import time

from services.replay.connection import ReplayTimeout, table_counts

_ANSWER_SECONDS = 5.0
_LOOKS = 2


class InsertPatience:
    """Tells a wait that ends by itself from one that does not.

    Args:
        address: "host:port" of the replay server.
        table: Which is written to.
        seconds: How long a wait is nobody's business.
        pause_seconds: Time between two looks at the table afterwards.
    """

    def __init__(
        self, address: str, table: str, *, seconds: float = 20.0, pause_seconds: float = 5.0
    ) -> None:
        self._address = address
        self._table = table
        self._seconds = seconds
        self._pause_seconds = pause_seconds
        self.note_written()

    def note_written(self) -> None:
        """Say that replay has taken something: whatever waits from now on has not waited yet."""
        self._look_at: float | None = None
        self._looks = 0

    def is_over(self) -> bool:
        """Whether to give the writer up; asked again and again while a write waits.

        Twice in a row the table must be open, or out of reach: it may have opened just now.
        """
        now = time.monotonic()
        if self._look_at is None:
            self._look_at = now + self._seconds
        if now < self._look_at:
            return False
        self._look_at = now + self._pause_seconds
        self._looks = 0 if self._is_held_back() else self._looks + 1
        if self._looks < _LOOKS:
            return False
        logging.getLogger(__name__).warning(
            "replay at %s takes no items though nothing holds them back: connecting anew",
            self._address,
        )
        self.note_written()
        return True

    def _is_held_back(self) -> bool:
        try:
            counts = table_counts(self._address, timeout_seconds=_ANSWER_SECONDS)
        except ReplayTimeout:
            return False
        return not counts[self._table].takes_inserts
