"""Records the provenance of a run when it starts (`services.shared.run_provenance`)."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from rrl_agents.checkpoints.find_checkpoint import find_checkpoint
from rrl_agents.checkpoints.teacher_card import Parent, TeacherCard
from services.launcher.experiment import Experiment
from services.launcher.machine import describe_code, describe_hardware
from services.shared.errors import UserError, user_errors
from services.shared.locks import locked
from services.shared.run_provenance import (
    PROVENANCE_FILE,
    Provenance,
    Session,
    read_provenance,
)
from services.shared.run_records import write_record
from services.shared.urls import without_credentials
from services.teacher.policies.loading import load_card

MAX_SESSIONS = 1000
"""A run with more sessions keeps its first and its newest ones."""

_LOCK = ".provenance.lock"
_LOCK_WAIT_SECONDS = 30.0


def parents_of(experiment: Experiment) -> tuple[Parent, ...]:
    """The agents that the student of an experiment learns from.

    A teacher that only serves as a comparison, as in tabula rasa, is not a parent. Recorded
    data comes from the agent whose checkpoint lies beside it; if that cannot be opened, a warning
    says why, and the lineage names no agent for the data.
    """
    teacher, recorder, recipe = experiment.card, _recorder(experiment), experiment.recipe
    is_asked = experiment.teacher_plays or experiment.asks_teacher
    parents = []
    if teacher is not None and recipe.initial_weights == "teacher":
        parents.append(Parent(relations=("initial weights",), card=teacher))
    elif teacher is not None and is_asked:
        parents.append(Parent(relations=("teacher",), card=teacher))
    if recorder is not None:
        if parents and recorder.parameters_sha256 == parents[0].card.parameters_sha256:
            return (Parent(relations=(*parents[0].relations, "data"), card=parents[0].card),)
        parents.append(Parent(relations=("data",), card=recorder))
    return tuple(parents)


def _recorder(experiment: Experiment) -> TeacherCard | None:
    """The agent that played the recorded data."""
    data = experiment.data
    if data is None or experiment.targets.teacher_steps == 0:
        return None
    try:
        path = Path(data.path)
        with user_errors():
            agent = path if data.number is None else find_checkpoint(path, data.number).file
        card = load_card(str(agent))
    except UserError as error:
        logging.getLogger(__name__).warning(
            "the run's lineage does not name who played %s: %s", data.path, error
        )
        return None
    return dataclasses.replace(card, game=experiment.spec.name)


def record_session(run: Path, parents: Callable[[], tuple[Parent, ...]]) -> None:
    """Record that this process works on a run; the first session also records the parents.

    Args:
        run: Its folder, which must exist.
        parents: Finds the parents of the student; called in the first session only.

    Raises:
        UserError: the file is unreadable, or other processes keep it locked.
        OSError: it cannot be written.
    """
    with locked(run / _LOCK, wait_seconds=_LOCK_WAIT_SECONDS):
        known = read_provenance(run) or Provenance(parents=parents(), sessions=())
        first, *later = (*known.sessions, _this_session())
        kept = (first, *later[-(MAX_SESSIONS - 1) :])
        write_record(run / PROVENANCE_FILE, dataclasses.replace(known, sessions=kept))


def _this_session() -> Session:
    program = Path(sys.argv[0]).name
    return Session(
        started=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        command=shlex.join([program, *map(without_credentials, sys.argv[1:])]),
        code=describe_code(),
        hardware=describe_hardware(),
    )
