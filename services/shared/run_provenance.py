"""The provenance of a run: `RUN/provenance.json`, which `services.launcher.provenance` writes.

It holds the full cards of the student's parents. For each session (each start of the run, and each
role that is started by itself) it records command, code and hardware.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rrl_agents.checkpoints.teacher_card import Parent
from services.shared.run_records import read_record

PROVENANCE_FILE = "provenance.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Session:
    """One start of a run, or of one of its roles.

    Attributes:
        started: Date and time, ISO 8601 with its offset from UTC.
        command: The command line; its URLs lose user, password and query, as it is published.
        code: Versions of this package, with its commit if known, of Python and of the libraries.
        hardware: CPU, cores, memory and GPUs.
    """

    started: str
    command: str
    code: str
    hardware: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
    """The provenance of a run.

    Attributes:
        parents: The agents that its student learned from.
        sessions: Oldest first.
    """

    parents: tuple[Parent, ...]
    sessions: tuple[Session, ...]


def read_provenance(run: Path) -> Provenance | None:
    """The provenance of a run; None if none was recorded.

    Raises:
        UserError: the file is damaged.
    """
    return read_record(run / PROVENANCE_FILE, Provenance)
