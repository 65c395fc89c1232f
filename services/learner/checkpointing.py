"""Saves and restores checkpoints: weights, optimiser, clocks and replay at one moment.

    RUN/checkpoints/00000007/
        record.json   clocks, returns, seconds (`services.learner.checkpoint_records`)
        due/          weights whose evaluation has no result yet (safetensors)
        state/        parameters, target parameters, optimiser (Orbax)

The replay role first saves its tables under the same number (`services.replay.shard_checkpoints`).
Then the learner writes its part into a temporary folder, reads the state back, and renames the
folder (`services.shared.numbered_folders`); only then does the checkpoint exist. The record holds a
digest of every file and one of itself, so that a learner skips a damaged checkpoint and resumes
from the newest undamaged one. Reverb verifies the checksums of its own files when it loads them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from rrl_agents.checkpoints.params_codec import params_from_bytes, params_to_bytes
from rrl_agents.types import Params
from services.learner.checkpoint_records import (
    DUE_FOLDER,
    RECORD_FILE,
    STATE_FOLDER,
    RunCheckpoint,
    RunRecord,
    checkpoints_of,
    encode_record,
)
from services.learner.published_weights import Snapshot
from services.shared.errors import UserError


def check_has_none(run: Path) -> None:
    """Check that a run which starts from scratch has no checkpoints, not even damaged ones.

    Raises:
        UserError: it has damaged ones, which a fresh start would delete.
    """
    folders = checkpoints_of(run)
    if damaged := sorted(folders.numbers()):
        raise UserError(
            f"none of the checkpoints in {folders.folder} can be read "
            f"({', '.join(folders.path(number).name for number in damaged)}; the log says why): "
            "restore the folder from a backup, choose another --run, or empty it to start from "
            "scratch"
        )


def next_number(run: Path, after: int = 0) -> int:
    """Number of the next checkpoint: above all those in the folder, and above `after`.

    A folder that is unreachable for a moment appears empty, but the next checkpoint must still be
    newer than the one that training resumed from.
    """
    return 1 + max([after, *checkpoints_of(run).numbers()])


def write_checkpoint(
    run: Path,
    state: Any,
    record: RunRecord,
    number: int,
    keep: Collection[int],
    due: Mapping[int, Params] | None = None,
) -> RunCheckpoint:
    """Write a checkpoint and delete older ones.

    Args:
        run: Folder of the run.
        state: Training state, a pytree of arrays.
        record: Record of the checkpoint, without digests.
        number: Number of the checkpoint, from `next_number`.
        keep: Numbers of older checkpoints to keep, in case this one gets damaged.
        due: Version -> parameters of the record's due weights; None for none.

    Raises:
        OSError: no space, no permission, or the state reads back with errors; earlier checkpoints
            stay.
    """
    folders = checkpoints_of(run)
    with folders.writing(number) as folder:
        _write(folder, state, record, due or {})
    folders.keep_only((number, *keep))
    return RunCheckpoint(path=folders.path(number), number=number, record=record)


def _write(folder: Path, state: Any, record: RunRecord, due: Mapping[int, Params]) -> None:
    """Write a checkpoint's folder, and read its state back.

    Raises:
        OSError: no space, no permission, or the state reads back with errors.
    """
    folder.mkdir()
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(folder / STATE_FOLDER, state)
            checkpointer.wait_until_finished()
            written = checkpointer.restore(folder / STATE_FOLDER, state)
    except (ValueError, RuntimeError, KeyError) as error:
        # Orbax raises these on a full disk.
        raise OSError(f"{folder}: {str(error).splitlines()[0]}") from error
    if not all(map(np.array_equal, jax.tree.leaves(written), jax.tree.leaves(state))):
        raise OSError(f"{folder}: the state that was read back differs from what was written")
    (folder / DUE_FOLDER).mkdir()
    for version, params in due.items():
        _due_file(folder, version).write_bytes(params_to_bytes(params))
    (folder / RECORD_FILE).write_text(encode_record(record, folder))


def restore_state(checkpoint: RunCheckpoint, template: Any) -> Any:
    """Read the training state of a checkpoint.

    Args:
        checkpoint: The checkpoint.
        template: A state of the same structure, shapes and dtypes.

    Raises:
        UserError: the state does not fit the template.
    """
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore((checkpoint.path / STATE_FOLDER).absolute(), template)
    except (ValueError, KeyError, OSError) as error:
        raise UserError(
            f"checkpoint {checkpoint.path} does not fit this experiment: "
            f"{str(error).splitlines()[0]}; delete that folder to resume from the checkpoint before"
        ) from error


def restore_due(checkpoint: RunCheckpoint) -> list[Snapshot]:
    """Read the weights whose evaluation is pending, in the order of the requests.

    Raises:
        UserError: a file is missing or holds no parameters.
    """
    try:
        return [
            Snapshot(
                params=params_from_bytes(_due_file(checkpoint.path, one.version).read_bytes()),
                **vars(one),
            )
            for one in checkpoint.record.due
        ]
    except (ValueError, OSError) as error:
        raise UserError(
            f"the weights to evaluate in checkpoint {checkpoint.path} cannot be read: {error}; "
            "delete that folder to resume from the checkpoint before"
        ) from error


def _due_file(checkpoint: Path, version: int) -> Path:
    return checkpoint / DUE_FOLDER / f"{version}.safetensors"
