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
import hashlib
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from rrl_agents.checkpoints.sealed_json import seal, unseal
from rrl_agents.types import Progress, Stage
from services.shared.numbered_folders import NumberedFolders

RECORD_FILE = "record.json"
STATE_FOLDER = "state"
DUE_FOLDER = "due"
_MAX_RECORD_BYTES = 2**20
_BLOCK_BYTES = 2**20


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
    """The part of a checkpoint that is plain numbers.

    Attributes:
        progress: Clocks and returns.
        seconds: Wall-clock seconds of all sessions of this run.
        due: Pending evaluations, in the order they were requested.
        evaluation_lines: Lines of the file of evaluations. Later lines came after this checkpoint.
    """

    progress: Progress
    seconds: float
    due: tuple[DueWeights, ...] = ()
    evaluation_lines: int = 0


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
            record, digests = _read_record(path)
            for folder in (STATE_FOLDER, DUE_FOLDER):
                _check_digests(path / folder, digests[folder])
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
    content = {
        "progress": _progress_to_json(record.progress),
        "seconds": record.seconds,
        "due": [
            {**dataclasses.asdict(one), "progress": _progress_to_json(one.progress)}
            for one in record.due
        ],
        "evaluation_lines": record.evaluation_lines,
        "digests": _digests(checkpoint / STATE_FOLDER),
        "due_digests": _digests(checkpoint / DUE_FOLDER),
    }
    return seal(content, indent=1)


def _read_record(path: Path) -> tuple[RunRecord, dict[str, dict[str, str]]]:
    """The clocks, and the digests of the files in each folder."""
    file = path / RECORD_FILE
    if file.stat().st_size > _MAX_RECORD_BYTES:
        raise ValueError(f"{RECORD_FILE} is larger than {_MAX_RECORD_BYTES} bytes")
    content = unseal(file.read_text())
    if not (path / STATE_FOLDER).is_dir():
        raise ValueError("incomplete")
    try:
        record = RunRecord(
            progress=_progress_from_json(content["progress"]),
            seconds=float(content["seconds"]),
            due=tuple(map(_due_from_json, content["due"])),
            evaluation_lines=int(content["evaluation_lines"]),
        )
        digests = {
            STATE_FOLDER: _typed_digests(content["digests"]),
            DUE_FOLDER: _typed_digests(content["due_digests"]),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{RECORD_FILE} lacks or misnames {error}") from error
    return record, digests


def _progress_to_json(progress: Progress) -> dict[str, Any]:
    return {**dataclasses.asdict(progress), "stage": progress.stage.name}


def _progress_from_json(content: Mapping[str, Any]) -> Progress:
    return Progress(**{**content, "stage": Stage[content["stage"]]})


def _due_from_json(content: Mapping[str, Any]) -> DueWeights:
    return DueWeights(
        **{
            **content,
            "progress": _progress_from_json(content["progress"]),
            "sessions": tuple(content["sessions"]),
        }
    )


def _typed_digests(content: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(digest) for name, digest in content.items()}


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by relative path; empty where there is no folder."""
    return {
        str(file.relative_to(folder)): _sha256(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        digest = hashlib.sha256()
        while block := content.read(_BLOCK_BYTES):
            digest.update(block)
        return digest.hexdigest()


def _check_digests(folder: Path, digests: Mapping[str, str]) -> None:
    found = _digests(folder)
    if found != digests:
        changed = sorted(
            name for name in {*found, *digests} if found.get(name) != digests.get(name)
        )
        raise ValueError(f"{changed[0]} is not as it was written")
