"""Two looks at a run's roles become one status: rates are of the time between them."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Sequence
from itertools import starmap

from services.cli.metrics_pages.histogram import merged
from services.cli.metrics_pages.interval import NO_PAGE, Interval, teacher_interval
from services.cli.metrics_pages.page import Page
from services.cli.status.facts import (
    Actor,
    Checkpoint,
    Replay,
    Role,
    RunStatus,
    Table,
    Teacher,
    make_scores,
)
from services.cli.status.sources import LearnerAnswer, Scrape, Sources
from services.launcher.progress_display import stage_name
from services.launcher.progress_estimates import seconds_left


def status_of(run: str | None, sources: Sources, before: Scrape, after: Scrape) -> RunStatus:
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
        replay=_replay([*_intervals(before, after, "replay").values()]),
        teacher=_teacher(before, after),
        actors=tuple(starmap(_actor, _intervals(before, after, "actor").items())),
        roles=_roles(sources, after),
    )
    for learner in _intervals(before, after, "learner").values():
        status = dataclasses.replace(
            status,
            checkpoint=_checkpoint(learner.now),
            answered_share=learner.now.value("rrl_learner_answered_share"),
        )
    return _with_answer(status, before, after.learner, after) if after.learner else status


def _with_answer(
    status: RunStatus, before: Scrape, answer: LearnerAnswer, after: Scrape
) -> RunStatus:
    progress = answer.progress
    return dataclasses.replace(
        status,
        stage=stage_name(progress.stage),
        stages=answer.stages,
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


def _intervals(before: Scrape, after: Scrape, role: str) -> dict[str, Interval]:
    """By name, of every role of a kind whose page came."""
    seconds = after.taken - before.taken
    return {
        name: Interval(before=before.pages.get(name) or NO_PAGE, now=page, seconds=seconds)
        for name, page in after.pages.items()
        if page is not None and page.role == role
    }


def _seconds_left(before: Scrape, answer: LearnerAnswer, seconds: float) -> float | None:
    """Of the present stage, at the rate of the interval."""
    name = stage_name(answer.progress.stage)
    stage = next((stage for stage in answer.stages if stage.name == name), None)
    earlier = before.learner.stages if before.learner is not None else ()
    done = next((stage.done for stage in earlier if stage.name == name), None)
    if stage is None or done is None or seconds <= 0:
        return None
    return seconds_left(stage, (stage.done - done) / seconds)


def _frames_per_second(before: Scrape, after: Scrape) -> float | None:
    """As the actors count, else as they come into replay."""
    actors = _intervals(before, after, "actor")
    learners = _intervals(before, after, "learner")
    name = "rrl_actor_frames_total" if actors else "rrl_learner_frames_total"
    return _sum(interval.rate(name) for interval in (actors or learners).values())


def _replay(shards: Sequence[Interval]) -> Replay | None:
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


def _table(name: str, shards: Sequence[Interval]) -> Table:
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


def _teacher(before: Scrape, after: Scrape) -> Teacher | None:
    """All replicas, models and priorities together."""
    seconds = after.taken - before.taken
    replicas = [
        teacher_interval(before.pages.get(name), page, seconds)
        for name, page in after.pages.items()
        if page is not None and page.role == "teacher"
    ]
    if not replicas or seconds <= 0:
        return None
    latency = merged(one.histogram("rrl_teacher_latency_seconds") for one in replicas)
    batches = merged(one.histogram("rrl_teacher_batch_rows") for one in replicas)
    rows = math.fsum(one.increase("rrl_teacher_rows_total") for one in replicas)
    rejected = math.fsum(one.increase("rrl_teacher_rejected_total") for one in replicas)
    return Teacher(
        rows_per_second=rows / seconds,
        latency_p50_seconds=latency.quantile(0.5),
        latency_p99_seconds=latency.quantile(0.99),
        mean_batch_rows=batches.mean,
        queue_rows=_sum(one.now.value("rrl_teacher_queue_rows") for one in replicas) or 0.0,
        rejected_per_second=rejected / seconds,
    )


def _actor(name: str, interval: Interval) -> Actor:
    page = interval.now
    queries = page.by("rrl_actor_queries_total", "result")
    asked = math.fsum(queries.values())
    unanswered = queries.get("unanswered")
    return Actor(
        name=name,
        steps_per_second=interval.rate("rrl_actor_steps_total"),
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


def _roles(sources: Sources, after: Scrape) -> tuple[Role, ...]:
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
