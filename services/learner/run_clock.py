"""The progress of a run, changed here alone; safe to use from any thread."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

from rrl_agents.types import Progress, Stage


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

    def enter(self, stage: Stage) -> None:
        """Start a stage."""
        self._change(stage=stage)

    def publish(self, weights_version: int) -> None:
        """Note the newest published weights."""
        self._change(weights_version=weights_version)

    def count(self, *, teacher_steps: int, actor_steps: int) -> None:
        """Set the data clocks."""
        self._change(teacher_steps=teacher_steps, actor_steps=actor_steps)

    def count_update(self) -> None:
        """Count one update in the present stage."""
        with self._lock:
            progress = self._progress
            if progress.stage is Stage.OFFLINE:
                changed = dataclasses.replace(
                    progress, offline_updates=progress.offline_updates + 1
                )
            else:
                changed = dataclasses.replace(progress, online_updates=progress.online_updates + 1)
            self._progress = changed

    def note_priorities(self, largest: float) -> None:
        """Keep the largest priority of any transition."""
        if largest > self._progress.max_priority:
            self._change(max_priority=largest)

    def take_teacher_return(self, mean_return: float) -> Progress:
        """Take the teacher's return; gives the progress after it."""
        return self._change(teacher_return=mean_return)

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

    def _change(self, **changes: object) -> Progress:
        with self._lock:
            self._progress = self._weaned(dataclasses.replace(self._progress, **changes))  # type: ignore[arg-type]
            return self._progress

    def _weaned(self, progress: Progress) -> Progress:
        return dataclasses.replace(progress, weaning_weight=self._weaning_weight(progress))
