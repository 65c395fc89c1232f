"""The progress of a run; only this module changes it. Safe to use from any thread."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

from rrl_agents.types import Progress


class RunClock:
    """Keeps the progress of a run, including its weaning weight lambda.

    Args:
        progress: Progress at the start of the run.
        weaning_weight: Lambda as a function of the progress; evaluated at every change that may
            affect it.
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
        """Count updates in the present stage; returns the progress after them."""
        with self._lock:
            self._progress = self._progress.after_updates(count)
            return self._progress

    def take_return(self, mean_return: float, played: Progress) -> Progress:
        """Take the result of an evaluation of the student.

        Args:
            mean_return: Mean return of its episodes.
            played: Clocks when the weights that played were published. Weaning uses the return only
                if these weights had online updates.

        Returns:
            The progress after the evaluation.
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
        """Set fields of the progress; returns the changed progress."""
        with self._lock:
            self._progress = self._weaned(dataclasses.replace(self._progress, **changes))  # type: ignore[arg-type]
            return self._progress

    def _weaned(self, progress: Progress) -> Progress:
        return dataclasses.replace(progress, weaning_weight=self._weaning_weight(progress))
