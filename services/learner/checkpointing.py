"""Commits of a run: weights, optimiser, clocks and replay, all of one moment or not at all.

    RUN/checkpoints/00000007/
        record.json   clocks, returns, seconds (`services.learner.checkpoint_records`)
        due/          weights whose evaluation had not come back (safetensors)
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

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from rrl_agents.checkpoints.params_codec import params_from_bytes, params_to_bytes
from rrl_agents.durable_files import make_folders, rename_whole
from rrl_agents.types import Params
from services.learner.checkpoint_records import (
    DUE_FOLDER,
    RECORD_FILE,
    STATE_FOLDER,
    Commit,
    RunRecord,
    commits_folder,
    encode_record,
    newest_commit,
    numbered_commits,
)
from services.shared.errors import UserError

__all__ = [
    "RECORD_FILE",
    "STATE_FOLDER",
    "Commit",
    "RunRecord",
    "check_has_none",
    "check_storable",
    "commits_folder",
    "newest_commit",
    "next_number",
    "restore_due",
    "restore_state",
    "write_commit",
]

_TEMPORARY_PREFIX = ".writing-"
_UNSTORABLE = "[]\\"


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


def check_has_none(run: Path) -> None:
    """See that a run which is to begin has no commits, whether sound or not.

    Raises:
        UserError: it has; beginning anew would delete them.
    """
    if damaged := numbered_commits(commits_folder(run)):
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
    return 1 + max([after, *(int(path.name) for path in numbered_commits(commits_folder(run)))])


def commits_to_fall_back_on(run: Path) -> list[int]:
    """Numbers of all commits that are there: until the next one is whole, each may be needed."""
    return [int(path.name) for path in numbered_commits(commits_folder(run))]


def write_commit(
    run: Path,
    state: Any,
    record: RunRecord,
    number: int,
    keep: Collection[int],
    due: Mapping[int, Params] | None = None,
) -> Commit:
    """Write a commit and drop older ones.

    Args:
        run: Run directory.
        state: Training state, a pytree of arrays.
        record: Clocks.
        number: From `next_number`.
        keep: Numbers of the commits that stay, to fall back on should this one turn out damaged.
        due: Parameters of the record's due weights, by version; None for none.

    Raises:
        OSError: no space, no permission, or what was written does not read back; earlier commits
            are untouched.
    """
    folder = commits_folder(run)
    make_folders(folder)
    for leftover in folder.glob(f"{_TEMPORARY_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = (folder / f"{_TEMPORARY_PREFIX}{number:08d}").absolute()
    path = folder / f"{number:08d}"
    try:
        _write(temporary, state, record, due or {})
        rename_whole(temporary, path)
    except OSError:
        # On a full disk others need the room that this half takes.
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for other in numbered_commits(folder):
        if int(other.name) not in (number, *keep):
            shutil.rmtree(other, ignore_errors=True)
    return Commit(path=path, number=number, record=record)


def _write(folder: Path, state: Any, record: RunRecord, due: Mapping[int, Params]) -> None:
    """Make a commit's folder; its state is read back when this returns.

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
    (folder / DUE_FOLDER).mkdir()
    for version, params in due.items():
        _due_file(folder, version).write_bytes(params_to_bytes(params))
    (folder / RECORD_FILE).write_text(encode_record(record, folder))


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


def restore_due(commit: Commit) -> dict[int, Params]:
    """The parameters of a commit's due weights, by version, in the order they were asked for.

    Raises:
        UserError: they are not there, or no parameters.
    """
    try:
        return {
            one.version: params_from_bytes(_due_file(commit.path, one.version).read_bytes())
            for one in commit.record.due or ()
        }
    except (ValueError, OSError) as error:
        raise UserError(
            f"the weights to evaluate in checkpoint {commit.path} cannot be read: {error}; delete "
            "that folder to resume from the one before"
        ) from error


def _due_file(commit: Path, version: int) -> Path:
    return commit / DUE_FOLDER / f"{version}.safetensors"
