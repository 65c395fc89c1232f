"""The records of a run's checkpoints: their clocks, and digests that show which are undamaged.

    RUN/checkpoints/00000007/
        record.json   clocks, returns, seconds, pending evaluations
        due/          the weights of these evaluations (safetensors)
        state/        parameters, target parameters, optimiser (`services.learner.checkpointing`)

The record holds a digest of every file beside it, and one of itself. Reading it needs neither JAX
nor Orbax: commands that only show a run's progress start fast.
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
        version: Of the weights.
        progress: Clocks when they were published.
        seconds: Wall-clock seconds of all sessions at that moment.
        final: Whether their evaluation ends the run.
        sessions: Of the learners that have published these very weights.
    """

    version: int
    progress: Progress
    seconds: float
    final: bool
    sessions: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What `record.json` of a checkpoint holds.

    Attributes:
        progress: Clocks and returns.
        seconds: Wall-clock seconds of all sessions of this run.
        due: Pending evaluations, in the order they were requested.
        evaluation_lines: Lines of the file of evaluations. Later lines came after this checkpoint.
        digests: SHA-256 of every file in the folders beside it, by relative path; filled in when
            the record is written, empty before.
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
        path: Its folder.
        number: 1, 2, 3 … in the order of writing.
        record: Its clocks.
    """

    path: Path
    number: int
    record: RunRecord

    @property
    def written_at(self) -> float:
        """Unix time at which it was written."""
        return (self.path / RECORD_FILE).stat().st_mtime


def check_storable(run: Path) -> None:
    """Refuse a folder that checkpoints could be written into, but not read from.

    Raises:
        UserError: Orbax's storage takes a part of the path for a pattern or for an escape.
    """
    path = str(run.absolute())
    if found := sorted(set(path) & set(_UNSTORABLE)):
        raise UserError(
            f"{path} has {' and '.join(found)} in its name, and checkpoints under such a path "
            "cannot be read: choose a path without"
        )
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{ascii(path)} is not UTF-8, and cannot hold checkpoints") from error


def checkpoints_folder(run: Path) -> Path:
    """Where a run keeps its checkpoints."""
    return run / "checkpoints"


def checkpoints_of(run: Path) -> NumberedFolders:
    """A run's checkpoints, whether damaged or not."""
    return NumberedFolders(checkpoints_folder(run))


def newest_checkpoint(run: Path, unusable: Collection[int] = ()) -> RunCheckpoint | None:
    """The newest checkpoint whose clocks and weights are undamaged; writes nothing.

    Args:
        run: Run directory.
        unusable: Numbers to skip, since their tables cannot be loaded.

    Returns:
        The checkpoint; None when there is none.
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
    """The text of `record.json`.

    Args:
        record: Its content.
        checkpoint: Folder of the checkpoint, with all other files in it.
    """
    return seal(encode(dataclasses.replace(record, digests=_digests(checkpoint))), indent=1)


def _read_record(path: Path) -> RunRecord:
    """The record of an undamaged checkpoint.

    Raises:
        ValueError: it is damaged.
    """
    text = read_bounded(path / RECORD_FILE, _MAX_RECORD_BYTES, what="a checkpoint's record")
    record = decode_sealed(RunRecord, text.decode(), RECORD_FILE)
    if not (path / STATE_FOLDER).is_dir():
        raise ValueError("incomplete")
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
