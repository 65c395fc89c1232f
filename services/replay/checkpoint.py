"""Reverb's own checkpoints, which the replay role makes part of the run's checkpoints.

    role   --checkpoint_replay--> server writes working/<time>/
    role   --link_checkpoint----> the folder of a checkpoint of the run (`shard_checkpoints`)
    role   removes working/<time>/
    server <--restore_from------- the folder of a checkpoint of the run, exactly this one

A checkpoint left in the working folder is newer than the learner's weights and must not be loaded:
the server removes it when it starts. A checkpoint restores table sizes, contents, counts and the
rate limiter's state (checked with Reverb 0.14). It also restores the tables' configuration, which
overrides that of the restarted server; `server` compares the two.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from services.replay.connection import table_counts
from services.replay.reverb_library import reverb
from services.shared.errors import UserError

_CHUNKS, _ITEMS, _TABLES = _DATA_FILES = ("chunks.tfrecord", "items.tfrecord", "tables.tfrecord")
_DONE_FILE = "DONE"
_ANSWER_SECONDS = 10.0
_WORKING_CHECKPOINT = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+[+-][0-9:]+")


def checkpoint_replay(address: str) -> Path:
    """Have the server write a checkpoint; it answers requests again afterwards.

    Args:
        address: "host:port" of the replay server.

    Returns:
        The checkpoint's folder, a path on the server's machine; replaced by the next call.

    Raises:
        ReplayTimeout: the server does not answer.
        RuntimeError: the server could not write.
    """
    # Reverb's checkpoint call has no deadline, and waits forever for a server that is down.
    table_counts(address, timeout_seconds=_ANSWER_SECONDS)
    try:
        return Path(reverb.Client(address).checkpoint())
    except IndexError as error:
        # Reverb raises this on a full disk.
        raise RuntimeError(str(error)) from error


def link_checkpoint(src: Path, dst: Path) -> None:
    """Copy a checkpoint to another folder, by hard links where the file system allows.

    Args:
        src: Folder given by `checkpoint_replay`.
        dst: Folder to make; must not exist.

    Raises:
        UserError: `src` is not a complete checkpoint.
        FileExistsError: `dst` exists.
    """
    check_checkpoint(src)
    dst.mkdir(parents=True)
    for name in (*_DATA_FILES, _DONE_FILE):
        try:
            (dst / name).hardlink_to(src / name)
        except OSError:
            # Another file system, or one without hard links.
            shutil.copy2(src / name, dst / name)


def check_checkpoint(path: Path) -> None:
    """Check that a folder holds a complete checkpoint; without one, Reverb silently starts empty.

    Raises:
        UserError: it does not.
    """
    if not path.is_dir():
        raise UserError(
            f"there is no replay checkpoint at {path}; choose another checkpoint of the run"
        )
    lacking = [name for name in (*_DATA_FILES, _DONE_FILE) if not (path / name).is_file()]
    if not lacking:
        sizes = {name: (path / name).stat().st_size for name in _DATA_FILES}
        # Items refer to chunks, and only such chunks are written: both files are empty, or neither.
        one_sided = bool(sizes[_CHUNKS]) != bool(sizes[_ITEMS])
        needed = (_TABLES, _CHUNKS, _ITEMS) if one_sided else (_TABLES,)
        lacking = [name for name in needed if not sizes[name]]
    if lacking:
        raise UserError(
            f"replay checkpoint {path} lacks {lacking[0]}; choose another checkpoint of the run"
        )


def drop_working_checkpoints(root: Path) -> None:
    """Remove the server's checkpoints: the run has a copy of them, or they are incomplete.

    On a full disk, Reverb leaves incomplete ones. Reverb names checkpoints by the time and keeps
    the one with the latest name: if the clock was set back, it would delete the next checkpoint as
    soon as that is written.

    Args:
        root: Reverb's working folder, while Reverb is idle.
    """
    for path in root.glob("*"):
        if _WORKING_CHECKPOINT.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def empty_checkpoint_root(root: Path) -> None:
    """Remove working checkpoints, so that Reverb loads none of them.

    Args:
        root: Reverb's working folder; made if it is missing.

    Raises:
        UserError: the folder holds other files, in which case nothing is removed; or a checkpoint
            cannot be removed.
    """
    root.mkdir(parents=True, exist_ok=True)
    for entry in sorted(root.iterdir()):
        if not (entry.is_dir() and _WORKING_CHECKPOINT.fullmatch(entry.name)):
            raise UserError(
                f"{root} holds {entry.name}, which is not a replay checkpoint; "
                "choose a folder that is empty or missing"
            )
    drop_working_checkpoints(root)
    if left := next(root.iterdir(), None):
        raise UserError(
            f"{left} cannot be removed, and replay would load it instead of the run's own "
            "checkpoint; remove it, and start again"
        )
