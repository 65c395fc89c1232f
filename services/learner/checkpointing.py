"""Commits of a run: weights, optimiser, clocks and replay, all of one moment or not at all.

    RUN/checkpoints/00000007/
        record.json   clocks, returns, seconds
        state/        parameters, target parameters, optimiser (Orbax)
        replay/       Reverb's checkpoint, hard-linked

A commit is written under a temporary name and renamed when it is whole, so a kill at any moment
leaves the one before. Every role restarts from the newest commit that reads well.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from rrl_agents.types import Progress, Stage
from services.shared.errors import UserError

RECORD_FILE = "record.json"
STATE_FOLDER = "state"
REPLAY_FOLDER = "replay"
KEPT_COMMITS = 2
"""The newest, and one to fall back on should it turn out damaged."""

_TEMPORARY_PREFIX = ".writing-"
_MAX_RECORD_BYTES = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The part of a commit that is plain numbers.

    Attributes:
        progress: Clocks and returns.
        seconds: Wall-clock seconds of all sessions of this run.
    """

    progress: Progress
    seconds: float


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
    def replay(self) -> Path | None:
        """Its Reverb checkpoint, None when the tables were still empty."""
        folder = self.path / REPLAY_FOLDER
        return folder if folder.is_dir() else None


def commits_folder(run: Path) -> Path:
    """Where a run keeps its commits."""
    return run / "checkpoints"


def newest_commit(run: Path) -> Commit | None:
    """The newest commit that reads well, None when there is none; writes nothing."""
    for path in reversed(_numbered(commits_folder(run))):
        try:
            return Commit(path=path, number=int(path.name), record=_read_record(path))
        except (OSError, ValueError) as error:
            logging.warning("skipping damaged checkpoint %s: %s", path, error)
    return None


def write_commit(
    run: Path, state: Any, record: RunRecord, link_replay: Callable[[Path], None] | None
) -> Commit:
    """Write a commit and drop all but the newest few.

    Args:
        run: Run directory.
        state: Training state, a pytree of arrays.
        record: Clocks.
        link_replay: Puts the replay checkpoint into the folder it is given; None for no replay.

    Raises:
        OSError: no space, no permission; earlier commits are untouched.
    """
    folder = commits_folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f"{_TEMPORARY_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    number = 1 + max((int(path.name) for path in _numbered(folder)), default=0)
    temporary = (folder / f"{_TEMPORARY_PREFIX}{number:08d}").absolute()
    temporary.mkdir()
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(temporary / STATE_FOLDER, state)
    if link_replay is not None:
        link_replay(temporary / REPLAY_FOLDER)
    (temporary / RECORD_FILE).write_text(json.dumps(_record_to_json(record), indent=1))
    path = folder / f"{number:08d}"
    temporary.rename(path)
    for old in _numbered(folder)[:-KEPT_COMMITS]:
        shutil.rmtree(old, ignore_errors=True)
    return Commit(path=path, number=number, record=record)


def _numbered(folder: Path) -> list[Path]:
    """Its commits, oldest first; whatever else somebody put there is left alone."""
    return sorted(path for path in folder.glob("*") if path.name.isdecimal())


def restore_state(commit: Commit, template: Any) -> Any:
    """The training state of a commit.

    Args:
        commit: Where to read.
        template: A state of the same structure, shapes and dtypes.

    Raises:
        UserError: it does not fit the template.
    """
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore((commit.path / STATE_FOLDER).absolute(), template)
    except (ValueError, KeyError, OSError) as error:
        raise UserError(
            f"checkpoint {commit.path} does not fit this experiment: {str(error).splitlines()[0]}; "
            "delete that folder to go on from the one before"
        ) from error


def _record_to_json(record: RunRecord) -> dict[str, Any]:
    progress = dataclasses.asdict(record.progress)
    progress["stage"] = record.progress.stage.name
    return {
        "progress": progress,
        "seconds": record.seconds,
    }


def _read_record(path: Path) -> RunRecord:
    file = path / RECORD_FILE
    if file.stat().st_size > _MAX_RECORD_BYTES:
        raise ValueError(f"{RECORD_FILE} is larger than {_MAX_RECORD_BYTES} bytes")
    content = json.loads(file.read_text())
    if not isinstance(content, dict) or not (path / STATE_FOLDER).is_dir():
        raise ValueError("incomplete")
    try:
        progress = dict(content["progress"])
        progress["stage"] = Stage[progress["stage"]]
        return RunRecord(
            progress=Progress(**progress),
            seconds=float(content["seconds"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{RECORD_FILE} lacks or misnames {error}") from error
