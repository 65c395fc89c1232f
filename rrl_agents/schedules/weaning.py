"""Weaning: the weight of the teacher during training (Agarwal et al., 2022, section 4.1).

The weight lambda is 1 during the offline stage. Online it is max(1 - teacher-normalised score, 0)
until `wean_steps` decisions, then 0. As in the released code, the score must come from weights
trained online: a score from the offline stage does not show that the student learns without a
teacher. Once the weight is 0 it stays 0, because the teacher may be gone by then.
"""

from __future__ import annotations

from collections.abc import Callable

from rrl_agents.scores import normalised_score
from rrl_agents.types import Progress, Stage


def until_matching_teacher(wean_steps: int) -> Callable[[Progress], float]:
    """Lambda as a function of the progress, whose `weaning_weight` is the present lambda.

    Args:
        wean_steps: Decisions of the students (`actor_steps`) at which weaning ends, at least 0.

    Returns:
        `progress -> lambda`, in [0, 1].
    """

    def weight(progress: Progress) -> float:
        if progress.weaning_weight == 0.0:
            return 0.0
        if progress.stage < Stage.ONLINE:
            return 1.0
        if progress.actor_steps >= wean_steps:
            return 0.0
        student, teacher = progress.online_return, progress.teacher_return
        if student is None or teacher is None:
            return 1.0
        score = normalised_score(student, progress.random_return, teacher)
        return min(max(1.0 - score, 0.0), 1.0)

    return weight
