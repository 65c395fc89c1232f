"""A student's directory as the next teacher: written whole or not at all, never over another.

    DIR/params.safetensors, card.json, README.md   what `rrl teacher serve` takes
    DIR/model.onnx                                 on request
    DIR/dopamine/                                  on request: what Dopamine's JaxDQNAgent loads

Each form is read back, or asked, before the directory gets its name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from rrl_agents.checkpoints.dopamine_agents.export import (
    TrainingState,
    check_dopamine_has,
    write_dopamine_agent,
)
from rrl_agents.checkpoints.import_dopamine import import_dopamine_agent
from rrl_agents.checkpoints.params_codec import params_to_bytes
from rrl_agents.checkpoints.teacher_card import Teacher
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory, save_teacher
from rrl_agents.durable_files import rename_whole
from rrl_agents.types import Params
from services.library.export.onnx_model import check_same_values, onnx_model
from services.shared.errors import UserError

ONNX_FILE = "model.onnx"
DOPAMINE_FOLDER = "dopamine"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DopamineCheckpoint:
    """What a Dopamine checkpoint holds beside the online network.

    Attributes:
        training: What the agent trains on from.
        number: The checkpoint's number, at least 0.
    """

    training: TrainingState
    number: int


def export_teacher(
    directory: Path,
    teacher: Teacher,
    *,
    onnx_states: NDArray[Any] | None = None,
    dopamine: DopamineCheckpoint | None = None,
) -> None:
    """Write a teacher's directory.

    Args:
        directory: Where; must not exist. Its parents are made.
        teacher: Whom.
        onnx_states: [N, *observation_shape], real states: also write an ONNX model, which must
            give the teacher's own values there. None for no ONNX model.
        dopamine: Also write a Dopamine checkpoint, with this. None for none.

    Raises:
        UserError: The directory is there, cannot be written, or one of the forms cannot hold this
            teacher; nothing is left behind.
    """
    try:
        if dopamine is not None:
            check_dopamine_has(teacher.card)
        with _new_directory(directory) as unfinished:
            save_teacher(unfinished, teacher.params, teacher.card)
            _check_equal(load_teacher_directory(unfinished).params, teacher, "safetensors")
            if onnx_states is not None:
                model = onnx_model(teacher)
                check_same_values(model, teacher, onnx_states)
                (unfinished / ONNX_FILE).write_bytes(model)
            if dopamine is not None:
                _write_dopamine(unfinished / DOPAMINE_FOLDER, teacher, dopamine)
    except (ValueError, OSError) as error:
        raise UserError(f"{directory} is not written: {error}") from error


def refuse_taken(directory: Path) -> None:
    """Refuse a directory that something has already.

    Raises:
        UserError: it exists.
    """
    if directory.exists() or directory.is_symlink():
        raise UserError(
            f"{directory} exists already, and nothing is overwritten: give another --name, or "
            "another --out"
        )


@contextlib.contextmanager
def _new_directory(directory: Path) -> Iterator[Path]:
    """A directory under a temporary name beside its own, which it gets at the end."""
    refuse_taken(directory)
    unfinished = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        # Somebody else may have taken the name meanwhile; only an empty directory would give way.
        refuse_taken(directory)
        rename_whole(unfinished, directory)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_dopamine(path: Path, teacher: Teacher, dopamine: DopamineCheckpoint) -> None:
    write_dopamine_agent(path, teacher, dopamine.training, number=dopamine.number)
    _check_equal(import_dopamine_agent(path).params, teacher, "the Dopamine checkpoint")


def _check_equal(written: Params, teacher: Teacher, form: str) -> None:
    if params_to_bytes(written) != params_to_bytes(teacher.params):
        raise ValueError(f"{form} was read back with other parameters; this is a fault of the disk")
