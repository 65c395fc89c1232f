"""Holds what an evaluation takes of the processors to a share of the machine.

An evaluation that nothing waits for need not be fast: what it takes, actors and learner lack. The
processor time of the whole process counts, with the threads of XLA and of the emulators.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_CREDIT_SECONDS = 0.5
"""Time for which unused processor time is kept: a machine that was busy for a while is no licence
to take more than the share afterwards."""
_LONGEST_PAUSE_SECONDS = 0.5
"""The caller looks up that often whether it is still to wait."""


_LEAST_SECONDS = 1e-4
"""Processor time that is not worth a pause."""


class Pace:
    """Pauses whenever this process is ahead of its share; call it between steps.

    In any T seconds of work the process takes at most cores x (T + 0.5) seconds of processor time,
    and those of one step.

    Args:
        cores: Processor seconds per second, above 0.
        wait: Pauses for so many seconds, or less where something ends it.
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
        """Pause, for half a second at most, if the process is ahead of its share; whether it did.

        Ask again before a step where it did: it may still be ahead.
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
