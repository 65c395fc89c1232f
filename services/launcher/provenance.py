"""Where a run comes from: `RUN/provenance.json`, written when it starts, read when it is exported.

It holds the cards of the agents that the student is made from, whole, and for each session (each
start of the run, and each role that is started by itself) its command, code and hardware.
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rrl_agents.checkpoints.find_checkpoint import find_checkpoint
from rrl_agents.checkpoints.sealed_json import decode_sealed, seal
from rrl_agents.checkpoints.teacher_card import Parent, TeacherCard
from rrl_agents.durable_files import write_whole
from rrl_agents.typed_json import encode
from services.launcher.experiment import Experiment
from services.launcher.machine import code_version, describe_hardware, package_versions
from services.shared.errors import UserError, user_errors
from services.shared.locks import locked
from services.teacher.policies.loading import load_card

PROVENANCE_FILE = "provenance.json"
MAX_SESSIONS = 1000
"""A run that is restarted more often keeps its first and its newest sessions."""

_MAX_FILE_BYTES = 16 * 2**20
_LOCK = ".provenance.lock"
_LOCK_WAIT_SECONDS = 30.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Session:
    """One start of a run, or of one of its roles.

    Attributes:
        started: Date and time, ISO 8601 with its offset from UTC.
        command: The command line.
        code_version: Version of this package, with its commit where there is one.
        packages: Versions of Python and of the libraries, as "name version".
        hardware: CPU, cores, memory and GPUs.
    """

    started: str
    command: str
    code_version: str
    packages: tuple[str, ...]
    hardware: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a run comes from.

    Attributes:
        parents: The agents its student is made from.
        sessions: Oldest first, at least one.
    """

    parents: tuple[Parent, ...]
    sessions: tuple[Session, ...]

    def __post_init__(self) -> None:
        """Refuse one without a session."""
        if not self.sessions:
            raise ValueError("it names no session")


def parents_of(experiment: Experiment) -> tuple[Parent, ...]:
    """The agents that the student of an experiment is made from.

    A teacher that is only compared with, as in tabula rasa, is no parent. Recorded data come from
    the agent whose checkpoint lies with them; where none can be opened, nobody is named for
    them, and a warning says why.
    """
    teacher, recorder = experiment.card, _recorder(experiment)
    relations: dict[str, list[str]] = {}
    recipe = experiment.recipe
    plays = experiment.data is None and experiment.targets.teacher_steps > 0
    if teacher is not None and recipe.initial_weights == "teacher":
        relations[teacher.parameters_sha256] = ["initial weights"]
    elif teacher is not None and (plays or recipe.asks_teacher(experiment.random_return)):
        relations[teacher.parameters_sha256] = ["teacher"]
    if recorder is not None:
        relations.setdefault(recorder.parameters_sha256, []).append("data")
    cards = {card.parameters_sha256: card for card in (recorder, teacher) if card is not None}
    return tuple(Parent(relations=tuple(has), card=cards[key]) for key, has in relations.items())


def _recorder(experiment: Experiment) -> TeacherCard | None:
    """Who played the recorded data."""
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


def record_session(run: Path, parents: Callable[[], Sequence[Parent]]) -> None:
    """Note that this process works on a run; the first time also the parents of its student.

    Args:
        run: Its folder, which exists.
        parents: Finds the agents that the student is made from; called the first time only.

    Raises:
        UserError: the file is there and unreadable, or other processes keep it busy.
        OSError: it cannot be written.
    """
    with locked(run / _LOCK, wait_seconds=_LOCK_WAIT_SECONDS):
        known = read_provenance(run)
        parents_known = tuple(parents()) if known is None else known.parents
        first, *later = (*(() if known is None else known.sessions), _this_session())
        sessions = (first, *later[-(MAX_SESSIONS - 1) :])
        noted = encode(Provenance(parents=parents_known, sessions=sessions))
        write_whole(run / PROVENANCE_FILE, seal(noted, indent=1) + "\n")


def read_provenance(run: Path) -> Provenance | None:
    """Where a run comes from; None where nobody noted it.

    Raises:
        UserError: the file is damaged.
    """
    path = run / PROVENANCE_FILE
    if not path.exists():
        return None
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ValueError(f"larger than {_MAX_FILE_BYTES:,} bytes")
        return decode_sealed(Provenance, path.read_text(encoding="utf-8"), PROVENANCE_FILE)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({error}); restore it, or move it away: the run then goes on, "
            "and its student's card starts from today"
        ) from error


def _this_session() -> Session:
    program = Path(sys.argv[0]).name
    return Session(
        started=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        command=shlex.join([program, *sys.argv[1:]]),
        code_version=code_version(),
        packages=package_versions(),
        hardware=describe_hardware(),
    )
