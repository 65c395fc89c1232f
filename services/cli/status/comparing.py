"""Two looks at a run's roles become one status: rates are of the time between them."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Sequence

from services.cli.status.facts import (
    Actor,
    Checkpoint,
    Phase,
    Replay,
    Role,
    RunStatus,
    Table,
    make_scores,
)
from services.cli.status.page import Page
from services.cli.status.sources import LearnerAnswer, Look, Sources
from services.cli.status.teacher import teacher_of
from services.launcher.progress_display import stage_name
from services.launcher.progress_estimates import seconds_left


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Pair:
    """One role's page at two moments; `before` is None where it was away."""

    name: str
    before: Page | None
    now: Page
    seconds: float

    def rate(self, name: str, **labels: str) -> float | None:
        """A counter's increase per second; one that fell began anew from 0."""
        now = self.now.value(name, **labels)
        before = self.before.value(name, **labels) if self.before is not None else None
        if now is None or before is None or self.seconds <= 0:
            return None
        return (now - before if now >= before else now) / self.seconds


def status_of(run: str | None, sources: Sources, before: Look, after: Look) -> RunStatus:
    """Where a run stands.

    Args:
        run: Its folder, as it was given.
        sources: Who was asked.
        before: An earlier look.
        after: The newest.
    """
    status = RunStatus(
        run=run,
        lives=after.lives,
        frames_per_second=_frames_per_second(before, after),
        replay=_replay(_pairs(before, after, "replay")),
        teacher=teacher_of(before, after),
        actors=tuple(map(_actor, _pairs(before, after, "actor"))),
        roles=_roles(sources, after),
    )
    for learner in _pairs(before, after, "learner"):
        status = dataclasses.replace(
            status,
            checkpoint=_checkpoint(learner.now),
            answered_share=learner.now.value("rrl_learner_answered_share"),
        )
    return _with_answer(status, before, after.learner, after) if after.learner else status


def _with_answer(status: RunStatus, before: Look, answer: LearnerAnswer, after: Look) -> RunStatus:
    progress = answer.progress
    return dataclasses.replace(
        status,
        stage=stage_name(progress.stage),
        phases=tuple(
            Phase(name=phase.name, unit=phase.unit, done=phase.done, target=phase.target)
            for phase in answer.phases
        ),
        seconds_left=_seconds_left(before, answer, after.taken - before.taken),
        seconds_at_work=answer.seconds,
        updates_per_second=answer.updates_per_second,
        weaning_weight=progress.weaning_weight,
        scores=make_scores(
            progress.student_return,
            progress.teacher_return,
            progress.random_return,
            student_updates=progress.evaluated_updates,
        ),
        checkpoint=None
        if status.checkpoint is None
        else dataclasses.replace(status.checkpoint, updates=answer.saved_updates),
        losses=answer.losses,
    )


def _pairs(before: Look, after: Look, role: str) -> list[_Pair]:
    seconds = after.taken - before.taken
    return [
        _Pair(name=name, before=before.pages.get(name), now=page, seconds=seconds)
        for name, page in after.pages.items()
        if page is not None and page.role == role
    ]


def _seconds_left(before: Look, answer: LearnerAnswer, seconds: float) -> float | None:
    """Of the present phase, at the rate of the interval."""
    stage = stage_name(answer.progress.stage)
    phase = next((phase for phase in answer.phases if phase.name == stage), None)
    earlier = before.learner.phases if before.learner is not None else ()
    done = next((phase.done for phase in earlier if phase.name == stage), None)
    if phase is None or done is None or seconds <= 0:
        return None
    return seconds_left(phase, (phase.done - done) / seconds)


def _frames_per_second(before: Look, after: Look) -> float | None:
    """As the actors count, else as they come into replay."""
    actors = _pairs(before, after, "actor")
    learners = _pairs(before, after, "learner")
    name = "rrl_actor_frames_total" if actors else "rrl_learner_frames_total"
    return _sum(pair.rate(name) for pair in actors or learners)


def _replay(shards: Sequence[_Pair]) -> Replay | None:
    if not shards:
        return None
    names = dict.fromkeys(
        table for shard in shards for table in shard.now.by("rrl_replay_items", "table")
    )
    return Replay(
        ratio=_mean(shard.now.value("rrl_replay_samples_per_insert") for shard in shards),
        ratio_target=_mean(
            shard.now.value("rrl_replay_samples_per_insert_target") for shard in shards
        ),
        tables={name: _table(name, shards) for name in names},
    )


def _table(name: str, shards: Sequence[_Pair]) -> Table:
    return Table(
        items=_sum(shard.now.value("rrl_replay_items", table=name) for shard in shards) or 0.0,
        capacity_items=_sum(
            shard.now.value("rrl_replay_capacity_items", table=name) for shard in shards
        ),
        inserted_per_second=_sum(
            shard.rate("rrl_replay_inserted_total", table=name) for shard in shards
        ),
        sampled_per_second=_sum(
            shard.rate("rrl_replay_sampled_total", table=name) for shard in shards
        ),
    )


def _actor(pair: _Pair) -> Actor:
    page = pair.now
    queries = page.by("rrl_actor_queries_total", "result")
    asked = math.fsum(queries.values())
    unanswered = queries.get("unanswered")
    return Actor(
        name=pair.name,
        steps_per_second=pair.rate("rrl_actor_steps_total"),
        episode_return=page.value("rrl_actor_episode_return"),
        weights_version=page.value("rrl_actor_weights_version"),
        weights_lag_updates=page.value("rrl_actor_weights_lag_updates"),
        weights_age_seconds=page.value("rrl_actor_weights_age_seconds"),
        unanswered_queries=unanswered,
        unanswered_share=unanswered / asked if unanswered is not None and asked > 0 else None,
    )


def _checkpoint(learner: Page) -> Checkpoint | None:
    number = learner.value("rrl_learner_checkpoint_number")
    written = learner.value("rrl_learner_checkpoint_timestamp_seconds")
    if number is None or written is None:
        return None
    failed = learner.value("rrl_learner_checkpoints_total", result="failed")
    return Checkpoint(
        number=int(number),
        # The two clocks, ours and the learner's, may differ a little.
        age_seconds=max(time.time() - written, 0.0),
        failed=int(failed) if failed is not None else None,
    )


def _roles(sources: Sources, after: Look) -> tuple[Role, ...]:
    """Who was asked, each once: a learner whose progress was asked for, and all other pages."""
    roles = []
    if sources.learner is not None:
        lives = after.learner is not None
        roles.append(Role(name="learner", address=sources.learner, lives=lives))
    for name, address in sources.pages.items():
        page = after.pages[name]
        role = page.role if page is not None else None
        # A page of the command line is named by its address until it says whose it is.
        told = name if name != str(address) else role or "nobody known"
        if told == "learner" and sources.learner is not None:
            continue
        roles.append(Role(name=told, address=str(address), lives=page is not None))
    return tuple(roles)


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
