"""Commits of a run: weights, optimiser, clocks and replay, all of one moment or not at all.

    RUN/checkpoints/00000007/
        record.json   clocks, returns, seconds
        state/        parameters, target parameters, optimiser (Orbax)

Replay's part lies with the replay role, under the same number, and is there before this one is
(`services.replay.shard_checkpoints`): the rename of this one makes the commit. A commit is written
under a temporary name, read back, flushed to disk and renamed when it is whole: a kill at any
moment leaves the one before. The record holds a digest of every file of the state, and one of
itself: what a disk or a hand has changed is passed over, and the learner resumes from the newest
commit that is sound. (Reverb's files carry checksums of their own, which are looked at when they
are loaded.)
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from rrl_agents.checkpoints.sealed_json import seal, unseal
from rrl_agents.types import Progress, Stage
from services.shared.errors import UserError

RECORD_FILE = "record.json"
STATE_FOLDER = "state"
_TEMPORARY_PREFIX = ".writing-"
_MAX_RECORD_BYTES = 2**20
_BLOCK_BYTES = 2**20
_UNSTORABLE = "[]\\"


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
            f"{path} has {' and '.join(found)} in its name, where checkpoints cannot be read "
            "again: choose a path without"
        )
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{ascii(path)} is no UTF-8, and cannot hold checkpoints") from error


def commits_folder(run: Path) -> Path:
    """Where a run keeps its commits."""
    return run / "checkpoints"


def newest_commit(run: Path, unusable: Collection[int] = ()) -> Commit | None:
    """The newest commit whose clocks and state are as they were written; writes nothing.

    Args:
        run: Run directory.
        unusable: Numbers to pass over, since their tables cannot be had.

    Returns:
        The commit; None when there is none.
    """
    for path in reversed(_numbered(commits_folder(run))):
        if int(path.name) in unusable:
            continue
        try:
            record, digests = _read_record(path)
            _check_digests(path / STATE_FOLDER, digests)
        except (OSError, ValueError) as error:
            logging.getLogger(__name__).warning("skipping damaged checkpoint %s: %s", path, error)
            continue
        return Commit(path=path, number=int(path.name), record=record)
    return None


def check_has_none(run: Path) -> None:
    """See that a run which is to begin has no commits, whether sound or not.

    Raises:
        UserError: it has; beginning anew would delete them.
    """
    if damaged := _numbered(commits_folder(run)):
        raise UserError(
            f"none of the checkpoints in {commits_folder(run)} can be read "
            f"({', '.join(path.name for path in damaged)}; the log says why): bring the folder "
            "back from a backup, choose another --run, or empty it to begin anew"
        )


def next_number(run: Path, after: int = 0) -> int:
    """Number of the commit that is written next: above all that are there, and above `after`.

    A folder that is out of sight for a moment (its disk, or somebody who moves it) shows none: what
    is written then must still be newer than the one that training went on from.
    """
    return 1 + max([after, *(int(path.name) for path in _numbered(commits_folder(run)))])


def write_commit(
    run: Path, state: Any, record: RunRecord, number: int, keep: Collection[int]
) -> Commit:
    """Write a commit and drop older ones.

    Args:
        run: Run directory.
        state: Training state, a pytree of arrays.
        record: Clocks.
        number: From `next_number`.
        keep: Numbers of the commits that stay, to fall back on should this one turn out damaged.

    Raises:
        OSError: no space, no permission, or what was written does not read back; earlier commits
            are untouched.
    """
    folder = commits_folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f"{_TEMPORARY_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = (folder / f"{_TEMPORARY_PREFIX}{number:08d}").absolute()
    path = folder / f"{number:08d}"
    try:
        _write(temporary, state, record)
        temporary.rename(path)
    except OSError:
        # On a full disk others need the room that this half takes.
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _flush_to_disk(folder, deep=False)
    for other in _numbered(folder):
        if int(other.name) not in (number, *keep):
            shutil.rmtree(other, ignore_errors=True)
    return Commit(path=path, number=number, record=record)


def _write(folder: Path, state: Any, record: RunRecord) -> None:
    """Make a commit's folder, on disk and read back when this returns.

    Raises:
        OSError: no space, no permission, or the state does not read back.
    """
    folder.mkdir()
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(folder / STATE_FOLDER, state)
            checkpointer.wait_until_finished()
            written = checkpointer.restore(folder / STATE_FOLDER, state)
    except (ValueError, RuntimeError, KeyError) as error:
        # What Orbax's storage makes of a full disk.
        raise OSError(f"{folder}: {str(error).splitlines()[0]}") from error
    if not all(map(np.array_equal, jax.tree.leaves(written), jax.tree.leaves(state))):
        raise OSError(f"{folder}: the state reads back otherwise than it was written")
    content = _record_to_json(record) | {"digests": _digests(folder / STATE_FOLDER)}
    (folder / RECORD_FILE).write_text(seal(content, indent=1))
    _flush_to_disk(folder)


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


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by relative path."""
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


def _check_digests(folder: Path, digests: dict[str, str]) -> None:
    found = _digests(folder)
    if found != digests:
        changed = sorted(
            name for name in {*found, *digests} if found.get(name) != digests.get(name)
        )
        raise ValueError(f"{changed[0]} is not as it was written")


def _flush_to_disk(folder: Path, *, deep: bool = True) -> None:
    """Have the system write a folder's files and names out: a rename must not be there first."""
    paths = [folder, *(folder.rglob("*") if deep else ())]
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read_record(path: Path) -> tuple[RunRecord, dict[str, str]]:
    """The clocks, and the digests of the state."""
    file = path / RECORD_FILE
    if file.stat().st_size > _MAX_RECORD_BYTES:
        raise ValueError(f"{RECORD_FILE} is larger than {_MAX_RECORD_BYTES} bytes")
    content = unseal(file.read_text())
    if not (path / STATE_FOLDER).is_dir():
        raise ValueError("incomplete")
    try:
        progress = dict(content["progress"])
        progress["stage"] = Stage[progress["stage"]]
        record = RunRecord(progress=Progress(**progress), seconds=float(content["seconds"]))
        return record, {str(name): str(digest) for name, digest in content["digests"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{RECORD_FILE} lacks or misnames {error}") from error
