"""Where a run stands as its folder tells, from its newest checkpoint and its evaluations."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from statistics import fmean

from rrl_agents.typed_json import decode, may_be_missing
from rrl_agents.types import Progress
from services.learner.checkpoint_records import RunCheckpoint, newest_checkpoint
from services.learner.codec import progress_to_proto
from services.learner.evaluation_records import current_records, read_records
from services.learner.pending_evaluations import EVALUATIONS_FILE
from services.learner.v1.learner_pb2 import GetProgressResponse
from services.shared.errors import user_errors
from services.shared.run_config import CONFIG_FILE, read_config


@dataclasses.dataclass(frozen=True)
class _Budgets:
    teacher_steps: int = may_be_missing(0)
    offline_updates: int = may_be_missing(0)
    online_steps: int = may_be_missing(0)


@dataclasses.dataclass(frozen=True)
class _Config:
    budgets: _Budgets = may_be_missing(_Budgets())


def read_folder(run: Path) -> tuple[GetProgressResponse, RunCheckpoint] | None:
    """What a learner would answer that resumed the run now, and the checkpoint it would resume.

    The student's return is that of the newest evaluation, which may be newer than the checkpoint.

    Args:
        run: Folder of the run.

    Returns:
        Both; None where there is no checkpoint yet.

    Raises:
        UserError: the folder is no run's, or a file in it is damaged.
    """
    with user_errors():
        config = decode(_Config, read_config(run), CONFIG_FILE, ignore_unknown=True)
    checkpoint = newest_checkpoint(run)
    if checkpoint is None:
        return None
    answer = GetProgressResponse(
        progress=progress_to_proto(_with_newest_evaluation(run, checkpoint.record.progress)),
        teacher_steps_target=config.budgets.teacher_steps,
        offline_updates_target=config.budgets.offline_updates,
        actor_steps_target=config.budgets.online_steps,
        seconds=checkpoint.record.seconds,
        saved=progress_to_proto(checkpoint.record.progress),
    )
    return answer, checkpoint


def _with_newest_evaluation(run: Path, progress: Progress) -> Progress:
    records = current_records(read_records(run / EVALUATIONS_FILE))
    played = [record for record in records if record.player == "student"]
    if not played:
        return progress
    newest = played[-1]
    return dataclasses.replace(
        progress,
        student_return=fmean(newest.episode_returns),
        evaluated_updates=newest.learner_updates,
    )
