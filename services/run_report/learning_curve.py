"""The learning curve of a run: points from evaluations; `curve_drawing` draws it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rrl_agents.scores import mean_and_interval
from rrl_agents.typed_json import may_be_missing
from services.learner.evaluation_records import EvaluationRecord


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One evaluation on the curve.

    Attributes:
        offline_updates: Gradient steps of the weights on the teacher's data.
        online_updates: Gradient steps of the weights in the online stage.
        frames: Environment frames of the student's own play.
        mean_return: Mean return over the episodes.
        low: Lower end of the 95% interval of the mean.
        high: Upper end.
        episodes: Number of episodes.
        weaning_weight: Weight of the distillation term; None if unknown.
    """

    offline_updates: int
    online_updates: int
    frames: int
    mean_return: float
    low: float
    high: float
    episodes: int
    weaning_weight: float | None = may_be_missing(None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """Content of a drawing.

    Attributes:
        title: One line above the panels.
        student_label: Name of the run's own curve, e.g. its method.
        student: Points in the order of the run, at least one.
        baseline_label: Name of the baseline's curve.
        baseline: Points of the baseline; empty if there is none.
        teacher_return: Height of the teacher's line.
        random_return: Height of the random policy's line.
    """

    title: str
    student_label: str
    student: Sequence[CurvePoint]
    baseline_label: str = ""
    baseline: Sequence[CurvePoint] = ()
    teacher_return: float
    random_return: float


def curve_point(record: EvaluationRecord, frames_per_step: int) -> CurvePoint:
    """Make a point from one evaluation.

    Args:
        record: An evaluation of the student.
        frames_per_step: Environment frames that one agent step lasts.

    Returns:
        The point, with the 95% bootstrap interval of the mean over the record's episodes.
    """
    mean, low, high = mean_and_interval(record.episode_returns)
    return CurvePoint(
        offline_updates=record.offline_updates,
        online_updates=record.online_updates,
        frames=record.actor_steps * frames_per_step,
        mean_return=mean,
        # If all returns are equal, sums in another order may still differ in the last digit.
        low=min(low, mean),
        high=max(high, mean),
        episodes=len(record.episode_returns),
        weaning_weight=record.weaning_weight,
    )


def split_stages(
    points: Sequence[CurvePoint],
) -> tuple[tuple[CurvePoint, ...], tuple[CurvePoint, ...]]:
    """Divide a curve at the start of the student's own play.

    Args:
        points: Points in the order of the run.

    Returns:
        Offline and online points. The last offline point also begins the online part, which starts
        from these weights. A run without offline updates has no offline part.
    """
    offline = tuple(point for point in points if point.frames == 0 and point.online_updates == 0)
    online = tuple(point for point in points if point not in offline)
    if all(point.offline_updates == 0 for point in points):
        return (), offline + online
    return offline, offline[-1:] + online if online else ()
