"""What there is to say of a run, as numbers with names; `rrl status --json` prints just this."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from rrl_agents.scores import score_if_known
from services.launcher.progress_estimates import StageProgress


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """Mean returns; None while nobody knows them.

    Attributes:
        student_return: Of the student's newest evaluation.
        student_updates: Updates behind the weights that were evaluated then.
        teacher_return: Of the teacher.
        random_return: Of random play.
        normalised_score: The student's between random play, 0, and the teacher, 1.
    """

    student_return: float | None = None
    student_updates: int | None = None
    teacher_return: float | None = None
    random_return: float | None = None
    normalised_score: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table of replay, all shards together.

    Attributes:
        items: In it now.
        capacity_items: That fit.
        inserted_per_second: Over the interval.
        sampled_per_second: Likewise.
    """

    items: float
    capacity_items: float | None
    inserted_per_second: float | None
    sampled_per_second: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replay:
    """Replay, all shards together.

    Attributes:
        ratio: Items of the student's table sampled per item inserted, over the whole run.
        ratio_target: As it was asked for.
        tables: By name.
    """

    ratio: float | None
    ratio_target: float | None
    tables: Mapping[str, Table]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher:
    """The teacher service over the interval; None where nothing was asked.

    Attributes:
        rows_per_second: States answered.
        latency_p50_seconds: Median time from a query's arrival to its end.
        latency_p99_seconds: 99 of 100 queries ended sooner.
        mean_batch_rows: States in a batch.
        queue_rows: States waiting at the end.
        rejected_per_second: Queries refused at once.
    """

    rows_per_second: float | None
    latency_p50_seconds: float | None
    latency_p99_seconds: float | None
    mean_batch_rows: float | None
    queue_rows: float
    rejected_per_second: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Actor:
    """One actor.

    Attributes:
        name: E.g. "actor-0".
        steps_per_second: Over the interval.
        episode_return: Of the last complete episode.
        weights_version: That acts.
        weights_lag_updates: Updates that the learner was ahead when it last answered.
        weights_age_seconds: Since it last said that there are no newer weights.
        unanswered_queries: Queries of the teacher without an answer since the actor began.
        unanswered_share: The same, of all its queries.
    """

    name: str
    steps_per_second: float | None
    episode_return: float | None
    weights_version: float | None
    weights_lag_updates: float | None
    weights_age_seconds: float | None
    unanswered_queries: float | None
    unanswered_share: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The newest checkpoint.

    Attributes:
        number: 1, 2, 3 …
        age_seconds: Since it was written.
        updates: That it holds; None where nobody knows.
        failed: Checkpoints that could not be written since the learner began; None where nobody
            knows.
    """

    number: int
    age_seconds: float
    updates: int | None = None
    failed: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Role:
    """Who was asked.

    Attributes:
        name: E.g. "actor-0"; for pages of the command line, the kind of role.
        address: Where.
        lives: Whether it answered.
    """

    name: str
    address: str
    lives: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunStatus:
    """A run as it stands; None where nobody said.

    Attributes:
        run: Its folder, as it was given.
        lives: Whether any of its roles answered.
        note: What is to be known of where all this is from.
        stage: Of the run, now.
        stages: How far each is.
        seconds_left: Estimated for the present stage.
        seconds_at_work: Of all sessions.
        updates_per_second: The learner's, over its last stretch of updates.
        frames_per_second: Emulator frames of all actors.
        weaning_weight: Weight of the teacher's term, lambda.
        scores: Returns.
        losses: Mean of each term, by name.
        answered_share: Share of the rows learned from that the teacher has answered.
        replay: None where no page of it came.
        teacher: None where no page of it came.
        actors: Those whose page came.
        checkpoint: The newest.
        roles: Everybody who was asked.
    """

    run: str | None
    lives: bool
    note: str | None = None
    stage: str | None = None
    stages: tuple[StageProgress, ...] = ()
    seconds_left: float | None = None
    seconds_at_work: float | None = None
    updates_per_second: float | None = None
    frames_per_second: float | None = None
    weaning_weight: float | None = None
    scores: Scores = Scores()
    losses: Mapping[str, float] = dataclasses.field(default_factory=dict)
    answered_share: float | None = None
    replay: Replay | None = None
    teacher: Teacher | None = None
    actors: tuple[Actor, ...] = ()
    checkpoint: Checkpoint | None = None
    roles: tuple[Role, ...] = ()


def make_scores(
    student: float | None,
    teacher: float | None,
    random: float | None,
    *,
    student_updates: int | None = None,
) -> Scores:
    """Returns, and the student's on the scale of the others where that has a meaning."""
    return Scores(
        student_return=student,
        student_updates=student_updates,
        teacher_return=teacher,
        random_return=random,
        normalised_score=score_if_known(student, random, teacher),
    )
