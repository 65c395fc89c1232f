"""Limits the CPU time of an evaluation to a share of the machine.

An evaluation that nothing waits for need not be fast, because it takes CPU time from actors and
learner. The CPU time of the whole process counts, including threads of XLA and of the emulators.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_CREDIT_SECONDS = 0.5
"""Time for which unused CPU time is saved, so that a busy period is not followed by more than the
share."""
_LONGEST_PAUSE_SECONDS = 0.5
"""The caller checks this often whether to wait further."""


_LEAST_SECONDS = 1e-4
"""CPU time that is not worth a pause."""


class Pace:
    """Pauses whenever this process is ahead of its share; call it between steps.

    In any T seconds the process takes at most cores x (T + 0.5) seconds of CPU time, plus one step.

    Args:
        cores: Processor seconds per second, above 0.
        wait: Pauses for the given seconds, or less if interrupted.
        processor_seconds: Processor time of the process so far.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        cores: float,
        wait: Callable[[float], object] = time.sleep,
        *,
        processor_seconds: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cores = cores
        self._wait = wait
        self._processor_seconds = processor_seconds
        self._clock = clock
        self._ahead = 0.0
        self._seen = processor_seconds(), clock()

    def __call__(self) -> bool:
        """Pause, for at most half a second, if the process exceeds its share; says whether it did.

        If it did, call again before the step: the process may still exceed its share.
        """
        used, now = self._processor_seconds(), self._clock()
        used_before, before = self._seen
        self._seen = used, now
        self._ahead += used - used_before - self._cores * (now - before)
        self._ahead = max(self._ahead, -self._cores * _CREDIT_SECONDS)
        is_ahead = self._ahead > _LEAST_SECONDS
        if is_ahead:
            self._wait(min(self._ahead / self._cores, _LONGEST_PAUSE_SECONDS))
        return is_ahead
