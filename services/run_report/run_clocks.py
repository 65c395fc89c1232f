"""The steps, updates and times that a report shows, each with the moment that it is from.

All are the learner's clocks at one of two moments: when it published the weights of the last
evaluation, to which the scores belong; and when it wrote the newest checkpoint, which includes all
work of the run and from which it would resume.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from rrl_agents.types import Progress
from services.learner.checkpoint_records import RunRecord
from services.learner.evaluation_records import CLOCKS, EvaluationRecord


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clocks:
    """Clocks of a run at one moment.

    Attributes:
        as_of: The moment, in words.
        learner_updates: Gradient steps of both stages.
        offline_updates: Gradient steps on the teacher's data.
        online_updates: Gradient steps of the online stage.
        teacher_steps: Agent steps of the teacher in replay.
        actor_steps: Agent steps of the student.
        frames: Environment frames of the student's steps.
        weaning_weight: Weight of the distillation term, after the evaluation.
        wall_seconds: Wall-clock time of all sessions.
    """

    as_of: str
    learner_updates: int
    offline_updates: int
    online_updates: int
    teacher_steps: int
    actor_steps: int
    frames: int
    weaning_weight: float
    wall_seconds: float


def at_evaluation(record: EvaluationRecord, frames_per_step: int) -> Clocks:
    """The clocks when the weights of an evaluation were published.

    Args:
        record: The evaluation.
        frames_per_step: Environment frames that one agent step lasts.
    """
    as_of = f"at the last evaluation, after {record.learner_updates:,} updates"
    return _clocks(as_of, record, frames_per_step, record.seconds_since_start)


def at_checkpoint(record: RunRecord, frames_per_step: int) -> Clocks:
    """The clocks when a run's newest checkpoint was written.

    Args:
        record: Record of the checkpoint.
        frames_per_step: Environment frames that one agent step lasts.
    """
    as_of = f"in the newest checkpoint, after {record.progress.learner_updates:,} updates"
    return _clocks(as_of, record.progress, frames_per_step, record.seconds)


def _clocks(
    as_of: str, counted: EvaluationRecord | Progress, frames_per_step: int, seconds: float
) -> Clocks:
    return Clocks(
        as_of=as_of,
        **{name: getattr(counted, name) for name in (*CLOCKS, "learner_updates", "weaning_weight")},
        frames=counted.actor_steps * frames_per_step,
        wall_seconds=seconds,
    )


def in_words(clocks: Clocks) -> str:
    """One line: the moment, then updates, steps and time."""
    return (
        f"{clocks.as_of}: {clocks.offline_updates:,} offline and {clocks.online_updates:,} online "
        f"updates, {clocks.teacher_steps:,} teacher steps, {clocks.actor_steps:,} student steps, "
        f"{duration(clocks.wall_seconds)} of wall-clock time"
    )


def duration(seconds: float) -> str:
    """A duration in words, e.g. "7 min 40 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def beyond_budgets(clocks: Clocks, budgets: Mapping[str, int]) -> tuple[str, ...]:
    """Sentences about the budgets that a run exceeded, and why.

    Args:
        clocks: Clocks of the run.
        budgets: Name -> budget, from `config.json`.
    """
    asked, played = budgets.get("online_steps", 0), clocks.actor_steps
    found = []
    if 0 < asked < played:
        found.append(
            f"{played:,} student steps of a budget of {asked:,}: the replay ratio allows actors to "
            "be a few steps ahead of the last update"
        )
    asked, collected = budgets.get("teacher_steps", 0), clocks.teacher_steps
    if 0 < asked < collected:
        found.append(
            f"{collected:,} teacher steps of a budget of {asked:,}: actors write until each replay "
            "shard is full"
        )
    return tuple(found)
