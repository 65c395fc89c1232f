"""Where a run stands whose roles nobody reaches: from its newest checkpoint and its records."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import fmean
from typing import Any

from rrl_agents.types import Progress
from services.cli.status.facts import Checkpoint, RunStatus, Scores, make_scores
from services.launcher.progress_display import stage_name
from services.launcher.progress_estimates import StageProgress
from services.learner.checkpoint_records import RunCheckpoint, newest_checkpoint
from services.learner.evaluation_records import current_records, read_records
from services.learner.pending_evaluations import EVALUATIONS_FILE
from services.shared.run_config import read_config


def status_at_rest(run: Path, note: str) -> RunStatus:
    """Where a run stood when its newest checkpoint was written.

    Args:
        run: Its folder.
        note: Why nobody was asked.

    Raises:
        UserError: the folder is no run, or a file in it is damaged.
    """
    config = read_config(run)
    checkpoint = newest_checkpoint(run)
    if checkpoint is None:
        return RunStatus(run=str(run), lives=False, note=f"{note}; it has no checkpoint yet")
    progress = checkpoint.record.progress
    return RunStatus(
        run=str(run),
        lives=False,
        note=f"{note}; this is how it stood at its newest checkpoint",
        stage=stage_name(progress.stage),
        stages=_stages(progress, config),
        seconds_at_work=checkpoint.record.seconds,
        weaning_weight=progress.weaning_weight,
        scores=_scores(run, progress),
        checkpoint=_checkpoint(checkpoint),
    )


def _stages(progress: Progress, config: dict[str, Any]) -> tuple[StageProgress, ...]:
    budgets = config.get("budgets")
    targets = budgets if isinstance(budgets, dict) else {}
    every = (
        ("collect", "steps", progress.teacher_steps, "teacher_steps"),
        ("offline", "updates", progress.offline_updates, "offline_updates"),
        ("online", "steps", progress.actor_steps, "online_steps"),
    )
    return tuple(
        StageProgress(name=name, unit=unit, done=done, target=targets[key])
        for name, unit, done, key in every
        if isinstance(targets.get(key), int) and targets[key] > 0
    )


def _scores(run: Path, progress: Progress) -> Scores:
    """The student's is of the newest evaluation, which may have come after the checkpoint."""
    records = current_records(read_records(run / EVALUATIONS_FILE))
    played = [record for record in records if record.player == "student"]
    student, updates = progress.student_return, progress.evaluated_updates
    if played:
        student, updates = fmean(played[-1].episode_returns), played[-1].learner_updates
    return make_scores(
        student, progress.teacher_return, progress.random_return, student_updates=updates
    )


def _checkpoint(checkpoint: RunCheckpoint) -> Checkpoint:
    age = max(time.time() - checkpoint.written_at, 0.0)
    return Checkpoint(
        number=checkpoint.number,
        age_seconds=age,
        updates=checkpoint.record.progress.learner_updates,
    )
