"""How much a run had done, and as of when: all steps, updates and times that a report shows.

One clock, the learner's, is read at two moments: when it published the weights that were evaluated
last, which is what the scores belong to, and when it wrote the newest checkpoint, which is what the
run as a whole has done and a resumed run has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from rrl_agents.types import Progress
from services.learner.checkpoint_records import RunRecord
from services.learner.evaluation_records import CLOCKS, EvaluationRecord


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clocks:
    """What a run had done at one moment.

    Attributes:
        as_of: Which moment, in words.
        learner_updates: Gradient steps of both stages.
        offline_updates: Gradient steps on the teacher's data.
        online_updates: Gradient steps on the student's data.
        teacher_steps: Agent steps of the teacher in replay.
        actor_steps: Agent steps of the student.
        frames: Environment frames of these.
        weaning_weight: Weight of the distillation term, with the evaluation taken in.
        wall_seconds: Time at work, all sessions together.
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
        record: The checkpoint's.
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
        f"{duration(clocks.wall_seconds)} at work"
    )


def duration(seconds: float) -> str:
    """Returns e.g. "7 min 40 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def beyond_budgets(clocks: Clocks, budgets: Mapping[str, int]) -> tuple[str, ...]:
    """Says where more steps were taken than were asked for, and why.

    Args:
        clocks: What was done.
        budgets: What was asked for, by name, as `config.json` has it.
    """
    asked, played = budgets.get("online_steps", 0), clocks.actor_steps
    found = []
    if 0 < asked < played:
        found.append(
            f"{asked:,} student steps asked, {played:,} played: the replay ratio lets actors be "
            "some steps ahead of the last update"
        )
    asked, collected = budgets.get("teacher_steps", 0), clocks.teacher_steps
    if 0 < asked < collected:
        found.append(
            f"{asked:,} teacher steps asked, {collected:,} collected: actors write until each "
            "replay shard is full"
        )
    return tuple(found)
