"""What the commits of a run say: their clocks, and which of them are as they were written.

    RUN/checkpoints/00000007/
        record.json   clocks, returns, seconds, evaluations that had not come back
        due/          the weights of these evaluations (safetensors)
        state/        parameters, target parameters, optimiser (`services.learner.checkpointing`)

The record holds a digest of every file beside it, and one of itself. Reading a record needs none of
what reads or writes a state: whoever shows where a run stands gets by without JAX and Orbax.
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

RECORD_FILE = "record.json"
STATE_FOLDER = "state"
DUE_FOLDER = "due"
_MAX_RECORD_BYTES = 2**20
_BLOCK_BYTES = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class DueWeights:
    """Weights whose evaluation was asked for and had not come back when a commit was made.

    Attributes:
        version: Of the weights.
        progress: Clocks when they were published.
        seconds: Wall-clock seconds of all sessions at that moment.
        final: They end the run.
        sessions: Of the learners that have offered these very weights.
    """

    version: int
    progress: Progress
    seconds: float
    final: bool
    sessions: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The part of a commit that is plain numbers.

    Attributes:
        progress: Clocks and returns.
        seconds: Wall-clock seconds of all sessions of this run.
        due: Evaluations that had not come back, in the order they were asked for; None in a commit
            of a version that did not note them.
        evaluation_lines: Lines that the file of evaluations had. What follows them came after this
            commit.
    """

    progress: Progress
    seconds: float
    due: tuple[DueWeights, ...] | None = None
    evaluation_lines: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Commit:
    """One commit on disk.

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


def commits_folder(run: Path) -> Path:
    """Where a run keeps its commits."""
    return run / "checkpoints"


def numbered_commits(folder: Path) -> list[Path]:
    """Its commits, oldest first; whatever else somebody put there is left alone."""
    return sorted(path for path in folder.glob("*") if path.name.isdecimal())


def newest_commit(run: Path, unusable: Collection[int] = ()) -> Commit | None:
    """The newest commit whose clocks and weights are as they were written; writes nothing.

    Args:
        run: Run directory.
        unusable: Numbers to pass over, since their tables cannot be had.

    Returns:
        The commit; None when there is none.
    """
    for path in reversed(numbered_commits(commits_folder(run))):
        if int(path.name) in unusable:
            continue
        try:
            record, digests = _read_record(path)
            for folder in (STATE_FOLDER, DUE_FOLDER):
                _check_digests(path / folder, digests[folder])
        except (OSError, ValueError) as error:
            logging.getLogger(__name__).warning("skipping damaged checkpoint %s: %s", path, error)
            continue
        return Commit(path=path, number=int(path.name), record=record)
    return None


def encode_record(record: RunRecord, commit: Path) -> str:
    """The text of `record.json`.

    Args:
        record: What it says.
        commit: Folder of the commit, with all other files in it.
    """
    content: dict[str, Any] = {
        "progress": _progress_to_json(record.progress),
        "seconds": record.seconds,
        "evaluation_lines": record.evaluation_lines,
        "digests": _digests(commit / STATE_FOLDER),
        "due_digests": _digests(commit / DUE_FOLDER),
    }
    if record.due is not None:
        content["due"] = [
            {**dataclasses.asdict(one), "progress": _progress_to_json(one.progress)}
            for one in record.due
        ]
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
        due = content.get("due")
        record = RunRecord(
            progress=_progress_from_json(content["progress"]),
            seconds=float(content["seconds"]),
            due=None if due is None else tuple(map(_due_from_json, due)),
            evaluation_lines=int(content.get("evaluation_lines", 0)),
        )
        digests = {
            STATE_FOLDER: _typed_digests(content["digests"]),
            DUE_FOLDER: _typed_digests(content.get("due_digests", {})),
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
    """SHA-256 of every file below a folder, by relative path; none where it is not there."""
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
