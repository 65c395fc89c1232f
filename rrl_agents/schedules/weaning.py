"""Weaning: how much the student still listens to its teacher (Agarwal et al., 2022, section 4.1).

The weight lambda is 1 during the offline stage. Online it is what the student still lacks,
max(1 - teacher-normalised score, 0), until `wean_steps` decisions, and 0 from then on; the score is
that of weights that have learned online, as in the released code: how well the offline stage went
says nothing about going on without a teacher. A weight that has once been 0 stays 0: the teacher
may be gone by then.
"""

from __future__ import annotations

from collections.abc import Callable

from rrl_agents.scores import normalised_score
from rrl_agents.types import Progress, Stage


def weaning_weight(progress: Progress, student_score: float | None, wean_steps: int) -> float:
    """Lambda at a point of the run.

    Args:
        progress: Where the run stands; its `weaning_weight` is the lambda in force so far.
        student_score: Teacher-normalised score of the newest evaluation, None before the first.
        wean_steps: Decisions of the students (`actor_steps`) at which weaning ends.

    Returns:
        Lambda, in [0, 1].
    """
    if progress.weaning_weight == 0.0:
        return 0.0
    if progress.stage < Stage.ONLINE:
        return 1.0
    if progress.actor_steps >= wean_steps:
        return 0.0
    if student_score is None:
        return 1.0
    return min(max(1.0 - student_score, 0.0), 1.0)


def until_matching_teacher(wean_steps: int) -> Callable[[Progress], float]:
    """Lambda as a function of the progress alone, from the returns it holds.

    Args:
        wean_steps: Decisions of the students at which weaning ends, at least 0.
    """

    def weight(progress: Progress) -> float:
        return weaning_weight(progress, _student_score(progress), wean_steps)

    return weight


def _student_score(progress: Progress) -> float | None:
    if progress.online_return is None or progress.teacher_return is None:
        return None
    return normalised_score(progress.online_return, progress.random_return, progress.teacher_return)
