"""Decides from a run's clocks when it enters its next stage; it never returns to an earlier one."""

from __future__ import annotations

import dataclasses

from rrl_agents.ranges import check_ranges
from rrl_agents.types import Progress, Stage


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageTargets:
    """The target of each stage.

    Attributes:
        teacher_steps: Decisions in the teacher's table, played or recorded; 0 skips the stage.
        offline_updates: Gradient steps on the teacher's table; 0 skips the stage.
        online_updates: Gradient steps of the online stage. The students' decisions follow from
            them: online_updates * update_period + min_replay_size.
    """

    teacher_steps: int
    offline_updates: int
    online_updates: int

    def __post_init__(self) -> None:
        """Refuse negative counts, and offline updates without data."""
        check_ranges(self, "teacher_steps", "offline_updates", "online_updates", least=0)
        if self.offline_updates > 0 and self.teacher_steps == 0:
            raise ValueError(
                "offline updates need data of the teacher: set teacher_steps above 0, or "
                "offline_updates to 0"
            )


def next_stage(progress: Progress, targets: StageTargets, *, last_evaluation_done: bool) -> Stage:
    """The stage that a run should be in.

    Args:
        progress: Clocks and returns of the run.
        targets: The target of each stage.
        last_evaluation_done: Whether the evaluation of the final weights has a result.

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
