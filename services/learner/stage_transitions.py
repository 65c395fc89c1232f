"""When a run moves from one stage to the next: decided by its clocks alone, and never back."""

from __future__ import annotations

import dataclasses

from rrl_agents.ranges import check_ranges
from rrl_agents.types import Progress, Stage


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageTargets:
    """How far each stage goes.

    Attributes:
        teacher_steps: Decisions in the teacher's table, played or recorded; 0 skips the stage.
        offline_updates: Gradient steps on the teacher's table; 0 skips the stage.
        online_updates: Gradient steps on the student's own table. The replay ratio ties them to
            the students' decisions: updates x period + minimum replay size.
    """

    teacher_steps: int
    offline_updates: int
    online_updates: int

    def __post_init__(self) -> None:
        """Refuse negative counts, and offline updates without data."""
        check_ranges(self, "teacher_steps", "offline_updates", "online_updates", least=0)
        if self.offline_updates > 0 and self.teacher_steps == 0:
            raise ValueError(
                "offline updates need data of the teacher: set teacher_steps above 0 or "
                "offline_updates to 0"
            )


def next_stage(progress: Progress, targets: StageTargets, *, last_evaluation_done: bool) -> Stage:
    """The stage a run should be in.

    Args:
        progress: Clocks and returns of the run.
        targets: How far each stage goes.
        last_evaluation_done: Whether the result of the final weights is there.

    Returns:
        The present stage or a later one. The teacher's return must be known before any update:
        weaning and every reported score are measured against it.
    """
    stage = progress.stage
    if (
        stage is Stage.COLLECT
        and progress.teacher_steps >= targets.teacher_steps
        and progress.teacher_return is not None
    ):
        stage = Stage.OFFLINE
    if stage is Stage.OFFLINE and progress.offline_updates >= targets.offline_updates:
        stage = Stage.ONLINE
    if stage is Stage.ONLINE and progress.online_updates >= targets.online_updates:
        stage = Stage.FINAL_EVALUATION
    if stage is Stage.FINAL_EVALUATION and last_evaluation_done:
        stage = Stage.FINISHED
    return stage
