"""The one place where a run's progress changes; safe to use from any thread."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

from rrl_agents.types import Progress, Stage


class RunClock:
    """Keeps the progress of a run, and its weaning weight up to date with it.

    Args:
        progress: Where the run begins.
        weaning_weight: Lambda as a function of the progress; asked whenever something it reads
            has changed.
    """

    def __init__(self, progress: Progress, weaning_weight: Callable[[Progress], float]) -> None:
        self._lock = threading.Lock()
        self._weaning_weight = weaning_weight
        self._progress = self._weaned(progress)
        self._earlier_seconds = 0.0
        self._started = time.monotonic()

    @property
    def progress(self) -> Progress:
        """Where the run stands."""
        return self._progress

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of all sessions of the run."""
        return self._earlier_seconds + time.monotonic() - self._started

    def restore(self, progress: Progress, seconds: float) -> None:
        """Go on from a commit."""
        with self._lock:
            self._progress = progress
            self._earlier_seconds = seconds

    def enter(self, stage: Stage) -> None:
        """Begin a phase."""
        self._change(stage=stage)

    def publish(self, weights_version: int) -> None:
        """Note the newest weights on offer."""
        self._change(weights_version=weights_version)

    def count(self, *, teacher_steps: int, actor_steps: int) -> None:
        """Set the data clocks."""
        self._change(teacher_steps=teacher_steps, actor_steps=actor_steps)

    def count_update(self) -> None:
        """Count one update in the present phase."""
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
        """Keep the largest priority that transitions have been given."""
        if largest > self._progress.max_priority:
            self._change(max_priority=largest)

    def take_return(
        self, mean_return: float, *, of_teacher: bool, learned_online: bool = False
    ) -> Progress:
        """Take the result of an evaluation in.

        Args:
            mean_return: Over its episodes.
            of_teacher: The teacher played, not the student.
            learned_online: The student's weights had learned online: weaning reads their return.

        Returns:
            The progress after it.
        """
        if of_teacher:
            return self._change(teacher_return=mean_return)
        with self._lock:
            self._progress = self._weaned(
                dataclasses.replace(
                    self._progress,
                    student_return=mean_return,
                    online_return=mean_return if learned_online else self._progress.online_return,
                    evaluations=self._progress.evaluations + 1,
                )
            )
            return self._progress

    def _change(self, **changes: object) -> Progress:
        with self._lock:
            self._progress = self._weaned(dataclasses.replace(self._progress, **changes))  # type: ignore[arg-type]
            return self._progress

    def _weaned(self, progress: Progress) -> Progress:
        return dataclasses.replace(progress, weaning_weight=self._weaning_weight(progress))
