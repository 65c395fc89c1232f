"""Says which evaluation a run waits for, if it has nothing else to do."""

from __future__ import annotations

from typing import NamedTuple

from rrl_agents.types import Progress, Stage
from services.learner.published_weights import Snapshot
from services.learner.stage_transitions import StageTargets


class Awaited(NamedTuple):
    """What a run waits for.

    Attributes:
        updates: Updates, over all stages, of the weights whose evaluation the run waits for; None
            if it waits for none.
        teacher: Whether the run waits for the teacher's evaluation.
    """

    updates: int | None = None
    teacher: bool = False

    def __bool__(self) -> bool:
        """Whether the run waits for an evaluation."""
        return self.updates is not None or self.teacher


def awaited(
    progress: Progress, targets: StageTargets, newest: Snapshot | None, *, pauses: bool
) -> Awaited:
    """What a run waits for now.

    Args:
        progress: Clocks and returns of the run.
        targets: How far each stage goes.
        newest: The weights whose evaluation was requested last, if it has no result yet.
        pauses: Whether updates wait for each evaluation that is due.
    """
    if progress.stage is Stage.COLLECT:
        complete = progress.teacher_steps >= targets.teacher_steps
        return Awaited(teacher=complete and progress.teacher_return is None)
    if newest is not None and (pauses or progress.stage is Stage.FINAL_EVALUATION):
        return Awaited(updates=newest.progress.learner_updates)
    return Awaited()
