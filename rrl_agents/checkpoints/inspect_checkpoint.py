"""Tell what a piece of prior work is, and what is wrong with a broken one; nothing in it is run.

An ONNX file is left to the teacher service, which owns their rules.
"""

from __future__ import annotations

from pathlib import Path

from rrl_agents.checkpoints.dopamine_agents.hints import Hints
from rrl_agents.checkpoints.find_checkpoint import (
    checkpoint_numbers,
    checkpoints_directory,
    index_file,
)
from rrl_agents.checkpoints.inspection.dopamine_agent import inspect_dopamine_agent
from rrl_agents.checkpoints.inspection.findings import Inspection
from rrl_agents.checkpoints.inspection.replay_buffer import has_replay, inspect_replay_directory
from rrl_agents.checkpoints.inspection.teacher_files import (
    inspect_teacher_directory,
    is_teacher_directory,
)
from rrl_agents.checkpoints.teacher_directory import CARD_FILE, PARAMS_FILE

__all__ = ["Inspection", "inspect_checkpoint"]


def inspect_checkpoint(
    path: Path, number: int | None = None, hints: Hints | None = None
) -> Inspection:
    """Look at a teacher's directory, a Dopamine agent, or a replay buffer of one.

    Args:
        path: A directory, or a file in it: `ckpt.N`, `tf_ckpt-N` with or without an ending,
            `card.json`, `params.safetensors`.
        number: Which checkpoint of a Dopamine agent; the newest complete one when None.
        hints: What the user says of a Dopamine agent.

    Returns:
        What was found; damage is part of it, and no error.

    Raises:
        ValueError: When there is nothing of that name, it can't be opened, or a number is given
            for what has none.
    """
    try:
        return _inspect(path, number, hints)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error


def _inspect(path: Path, number: int | None, hints: Hints | None) -> Inspection:
    if path.name in (CARD_FILE, PARAMS_FILE) and path.is_file():
        path = path.parent
    if path.is_dir() and is_teacher_directory(path):
        if number is not None:
            raise ValueError(
                f"{path}: a teacher's directory has one set of parameters; leave out the "
                f"checkpoint number {number}"
            )
        return inspect_teacher_directory(path)
    if path.is_dir() and not _has_agent(path) and has_replay(path):
        return inspect_replay_directory(path, number)
    if not path.exists() and not index_file(path).is_file():
        raise ValueError(
            f"{path}: no such file or directory; give a teacher's directory, a Dopamine agent's "
            "directory or checkpoint, or an ONNX file"
        )
    return inspect_dopamine_agent(path, number, hints)


def _has_agent(path: Path) -> bool:
    numbers = checkpoint_numbers(checkpoints_directory(path))
    return bool(numbers.written or numbers.sentinels)
