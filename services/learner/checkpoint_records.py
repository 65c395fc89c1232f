"""The records of a run's checkpoints: their clocks, and digests that detect damage.

    RUN/checkpoints/00000007/
        record.json   clocks, returns, seconds, pending evaluations
        due/          the weights of these evaluations (safetensors)
        state/        parameters, target parameters, optimiser (`services.learner.checkpointing`)

The record holds a digest of every other file of the checkpoint, and one of itself. Reading it needs
neither JAX nor Orbax, so commands that only show a run's progress start fast.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.sealed_json import decode_sealed, seal
from rrl_agents.typed_json import encode
from rrl_agents.types import Progress
from services.shared.errors import UserError
from services.shared.file_digest import file_sha256
from services.shared.numbered_folders import NumberedFolders

RECORD_FILE = "record.json"
STATE_FOLDER = "state"
DUE_FOLDER = "due"
_MAX_RECORD_BYTES = 2**20
_UNSTORABLE = "[]\\"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DueWeights:
    """Weights whose evaluation was pending when a checkpoint was saved.

    Attributes:
        version: Version of the weights.
        progress: Clocks when the weights were published.
        seconds: Wall-clock seconds of all sessions at that moment.
        final: Whether their evaluation ends the run.
        sessions: Sessions of the learners that have published exactly these weights.
    """

    version: int
    progress: Progress
    seconds: float
    final: bool
    sessions: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Content of a checkpoint's `record.json`.

    Attributes:
        progress: Clocks and returns.
        seconds: Wall-clock seconds of all sessions of this run.
        due: Pending evaluations, in the order they were requested.
        evaluation_lines: Lines in the run's file of evaluations when the checkpoint was saved.
        digests: SHA-256 of every file in the checkpoint's folders, by relative path; empty until
            the record is written.
    """

    progress: Progress
    seconds: float
    due: tuple[DueWeights, ...] = ()
    evaluation_lines: int = 0
    digests: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunCheckpoint:
    """One checkpoint on disk.

    Attributes:
        path: Folder of the checkpoint.
        number: Number of the checkpoint: 1, 2, 3 … in the order of writing.
        record: The checkpoint's record.
    """

    path: Path
    number: int
    record: RunRecord

    @property
    def written_at(self) -> float:
        """Unix time at which the checkpoint was written, in seconds."""
        return (self.path / RECORD_FILE).stat().st_mtime


def check_storable(run: Path) -> None:
    """Refuse a folder from which Orbax could not read the checkpoints that it writes there.

    Raises:
        UserError: the path has characters that Orbax reads as a pattern or an escape, or is not
            UTF-8.
    """
    path = str(run.absolute())
    if found := sorted(set(path) & set(_UNSTORABLE)):
        raise UserError(
            f"{path} has {' and '.join(found)} in its name, and checkpoints under such a path "
            "cannot be read: choose a path without these characters"
        )
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{ascii(path)} is not UTF-8, and cannot hold checkpoints: choose another path"
        ) from error


def checkpoints_folder(run: Path) -> Path:
    """The folder of a run's checkpoints."""
    return run / "checkpoints"


def checkpoints_of(run: Path) -> NumberedFolders:
    """All checkpoints of a run, including damaged ones."""
    return NumberedFolders(checkpoints_folder(run))


def newest_checkpoint(run: Path, unusable: Collection[int] = ()) -> RunCheckpoint | None:
    """The newest undamaged checkpoint; changes nothing on disk.

    Args:
        run: Folder of the run.
        unusable: Numbers of checkpoints to skip, because replay cannot load their tables.

    Returns:
        The checkpoint; None if there is none.
    """
    folders = checkpoints_of(run)
    for number in folders.numbers():
        if number in unusable:
            continue
        path = folders.path(number)
        try:
            record = _read_record(path)
        except (OSError, ValueError) as error:
            logging.getLogger(__name__).warning("skipping damaged checkpoint %s: %s", path, error)
            continue
        return RunCheckpoint(path=path, number=number, record=record)
    return None


def encode_record(record: RunRecord, checkpoint: Path) -> str:
    """The text of `record.json`, with digests.

    Args:
        record: Content of the record.
        checkpoint: Folder of the checkpoint, which must have all other files.
    """
    return seal(encode(dataclasses.replace(record, digests=_digests(checkpoint))), indent=1)


def _read_record(path: Path) -> RunRecord:
    """Read a checkpoint's record, and check all digests.

    Raises:
        ValueError: the checkpoint is damaged.
    """
    text = read_bounded(path / RECORD_FILE, _MAX_RECORD_BYTES, what="a checkpoint's record")
    record = decode_sealed(RunRecord, text.decode(), RECORD_FILE)
    if not (path / STATE_FOLDER).is_dir():
        raise ValueError("it is incomplete: its folder state is missing")
    found = _digests(path)
    if found != record.digests:
        changed = sorted(
            name
            for name in {*found, *record.digests}
            if found.get(name) != record.digests.get(name)
        )
        raise ValueError(f"{changed[0]} has changed since it was written")
    return record


def _digests(checkpoint: Path) -> dict[str, str]:
    """SHA-256 of every file in a checkpoint's two folders, by relative path."""
    return {
        str(file.relative_to(checkpoint)): file_sha256(file)
        for folder in (STATE_FOLDER, DUE_FOLDER)
        for file in sorted((checkpoint / folder).rglob("*"))
        if file.is_file()
    }
