"""Where a run's status comes from: its roles, which are found and queried, and its folder.

`metrics_pages` reads the roles' pages.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from rrl_agents.types import Progress
from rrl_client import ClientSecurity
from services.cli.metrics_pages import page_address
from services.launcher.run_addresses import RunAddresses, read_addresses
from services.learner.checkpoint_records import RunCheckpoint, newest_checkpoint
from services.learner.client import LearnerClient, LearnerUnavailable
from services.learner.codec import progress_from_proto, progress_to_proto
from services.learner.evaluation_records import current_records, read_records
from services.learner.pending_evaluations import EVALUATIONS_FILE
from services.learner.v1.learner_pb2 import GetProgressResponse
from services.shared.addresses import parse_address
from services.shared.errors import user_errors
from services.shared.locks import LAUNCHER_LOCK, is_locked
from services.shared.run_config import read_config

_ANSWER_SECONDS = 3.0


def find_roles(
    run: Path | None, learner_address: str | None, metrics: Sequence[str]
) -> RunAddresses:
    """The roles that the flags name, else those that `rrl train` recorded in the run's folder.

    Addresses of a run that has ended are ignored: other processes may use them by now.

    Raises:
        UserError: an address is invalid, or the folder's file is damaged.
    """
    if learner_address is not None or metrics:
        # Keyed by address: two spellings of one page are one role.
        pages = {str(address): str(address) for address in map(page_address, metrics)}
        learner = None if learner_address is None else str(parse_address(learner_address))
        return RunAddresses(services={"learner": learner} if learner else {}, pages=pages)
    found = None
    # `is_locked` creates the lock file, which a run on several machines does not have.
    if run is not None and (run / LAUNCHER_LOCK).exists() and is_locked(run / LAUNCHER_LOCK):
        found = read_addresses(run)
    return found or RunAddresses(services={}, pages={})


def ask_learner(address: str, peers: ClientSecurity) -> GetProgressResponse | None:
    """The progress of a run; None if the learner does not answer within a few seconds.

    Raises:
        UserError: the credentials cannot be used.
    """
    with user_errors():
        client = LearnerClient(address, timeout_seconds=_ANSWER_SECONDS, security=peers)
    with contextlib.closing(client), contextlib.suppress(LearnerUnavailable, ValueError):
        answer = client.progress()
        progress_from_proto(answer.progress)  # ValueError: another version's, of another stage
        return answer
    return None


def read_folder(run: Path) -> tuple[GetProgressResponse, RunCheckpoint] | None:
    """The newest checkpoint, and the progress that a learner resuming from it would report.

    The student's return is that of the newest evaluation, which may be newer than the checkpoint.

    Args:
        run: Folder of the run.

    Returns:
        Both; None if there is no checkpoint yet.

    Raises:
        UserError: the folder is not a run, or a file in it is damaged.
    """
    budgets: Mapping[str, int] = read_config(run).get("budgets", {})
    checkpoint = newest_checkpoint(run)
    if checkpoint is None:
        return None
    answer = GetProgressResponse(
        progress=progress_to_proto(_with_newest_evaluation(run, checkpoint.record.progress)),
        teacher_steps_target=budgets.get("teacher_steps", 0),
        offline_updates_target=budgets.get("offline_updates", 0),
        actor_steps_target=budgets.get("online_steps", 0),
        seconds=checkpoint.record.seconds,
        saved=progress_to_proto(checkpoint.record.progress),
    )
    return answer, checkpoint


def _with_newest_evaluation(run: Path, progress: Progress) -> Progress:
    records = current_records(read_records(run / EVALUATIONS_FILE))
    played = [record for record in records if record.player == "student"]
    if not played:
        return progress
    return dataclasses.replace(
        progress,
        student_return=fmean(played[-1].episode_returns),
        evaluated_updates=played[-1].learner_updates,
    )
