"""When and how often a request is made again: pauses that grow, and a limit.

Failures are counted in a row: whoever gets on calls `renew`, so a long download may lose its
connection any number of times, and one that gets nowhere ends.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable

from services.shared.errors import UserError

_LONGEST_ASKED_SECONDS = 120.0
"""A store may ask for a pause; longer ones are cut."""


class Interrupted(Exception):
    """The connection was lost or the store is busy: worth another attempt.

    Attributes:
        asked_seconds: The pause that the store asked for, None where it asked for none.
    """

    def __init__(self, reason: str, asked_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.asked_seconds = asked_seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Pauses between attempts.

    Attributes:
        attempts: Attempts in a row that get nowhere, at least 1.
        first_pause_seconds: Pause after the first; doubles with each, randomised to between half
            and all of it so that many clients do not come back at once.
        longest_pause_seconds: No pause is longer, but where the store asks for it.
    """

    attempts: int = 6
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what would never try or wait backwards."""
        if self.attempts < 1:
            raise ValueError(f"{self.attempts} attempts; it must be at least 1")
        if not 0 <= self.first_pause_seconds <= self.longest_pause_seconds:
            raise ValueError(
                f"pauses from {self.first_pause_seconds} s to {self.longest_pause_seconds} s; the "
                "first must be at least 0 and at most the longest"
            )

    def pause_seconds(self, failures: int, asked_seconds: float | None) -> float:
        """The pause after so many failures in a row, at least 1."""
        grown = self.first_pause_seconds * 2.0 ** min(failures - 1, 30)
        own = min(grown, self.longest_pause_seconds) * random.uniform(0.5, 1.0)
        return max(own, min(asked_seconds or 0.0, _LONGEST_ASKED_SECONDS))


class Patience:
    """How much of it is left for one task."""

    def __init__(self, policy: RetryPolicy, tell: Callable[[str], None]) -> None:
        """Begin with all of it.

        Args:
            policy: Its measure.
            tell: Takes a line for the user at each failure.
        """
        self._policy = policy
        self._tell = tell
        self._failures = 0

    def renew(self) -> None:
        """Something was gained: the failures before it no longer count."""
        self._failures = 0

    def bear(self, failure: Interrupted, task: str) -> None:
        """Wait until the next attempt.

        Args:
            failure: What went wrong.
            task: What was tried, for messages.

        Raises:
            UserError: There were too many failures; the message says what to do.
        """
        self._failures += 1
        if self._failures >= self._policy.attempts:
            raise UserError(
                f"{task}: given up after {self._failures} attempts in a row ({failure}); check the "
                "network and run the same command again, which goes on from here"
            ) from failure
        pause = self._policy.pause_seconds(self._failures, failure.asked_seconds)
        self._tell(
            f"{task}: {failure}; attempt {self._failures + 1} of {self._policy.attempts} in "
            f"{pause:.1f} s"
        )
        time.sleep(pause)
