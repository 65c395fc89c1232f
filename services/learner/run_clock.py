"""The progress of a run, changed here alone; safe to use from any thread."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

from rrl_agents.types import Progress


class RunClock:
    """Keeps the progress of a run, and its weaning weight up to date with it.

    Args:
        progress: At the start of the run.
        weaning_weight: Lambda as a function of the progress; evaluated at every change that it may
            read.
    """

    def __init__(self, progress: Progress, weaning_weight: Callable[[Progress], float]) -> None:
        self._lock = threading.Lock()
        self._weaning_weight = weaning_weight
        self._progress = self._weaned(progress)
        self._earlier_seconds = 0.0
        self._started = time.monotonic()

    @property
    def progress(self) -> Progress:
        """Clocks and returns of the run."""
        return self._progress

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of all sessions of the run."""
        return self._earlier_seconds + time.monotonic() - self._started

    def restore(self, progress: Progress, seconds: float) -> None:
        """Resume from a checkpoint."""
        with self._lock:
            self._progress = progress
            self._earlier_seconds = seconds

    def count_updates(self, count: int = 1) -> Progress:
        """Count updates in the present stage; gives the progress after them."""
        with self._lock:
            self._progress = self._progress.after_updates(count)
            return self._progress

    def take_return(self, mean_return: float, played: Progress) -> Progress:
        """Take the result of an evaluation of the student.

        Args:
            mean_return: Over its episodes.
            played: Clocks of the weights that played. Weaning reads the return of weights that had
                learned online.

        Returns:
            The progress after it.
        """
        with self._lock:
            self._progress = self._weaned(
                dataclasses.replace(
                    self._progress,
                    student_return=mean_return,
                    online_return=mean_return
                    if played.online_updates > 0
                    else self._progress.online_return,
                    evaluations=self._progress.evaluations + 1,
                    evaluated_updates=played.learner_updates,
                )
            )
            return self._progress

    def change(self, **changes: object) -> Progress:
        """Set fields of the progress; gives the progress after it."""
        with self._lock:
            self._progress = self._weaned(dataclasses.replace(self._progress, **changes))  # type: ignore[arg-type]
            return self._progress

    def _weaned(self, progress: Progress) -> Progress:
        return dataclasses.replace(progress, weaning_weight=self._weaning_weight(progress))
