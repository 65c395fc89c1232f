"""Which checkpoints of a Dopamine agent lie beside each other, and what the broken ones lack."""

from __future__ import annotations

from pathlib import Path

from rrl_agents.checkpoints.find_checkpoint import (
    CheckpointNumbers,
    checkpoint_numbers,
    checkpoints_directory,
)
from rrl_agents.checkpoints.inspection.findings import ListedCheckpoint


def list_checkpoints(path: Path) -> tuple[ListedCheckpoint, ...]:
    """List an agent's checkpoints.

    Args:
        path: The agent's directory, its `checkpoints` directory, or a checkpoint in that.

    Returns:
        All that anything lies there of, by number.

    Raises:
        OSError: When the directory can't be read.
    """
    directory = checkpoints_directory(path) if path.is_dir() else path.parent
    numbers = checkpoint_numbers(directory)
    return tuple(
        ListedCheckpoint(
            number=number, is_complete=number in numbers.complete, lacks=_lacks(number, numbers)
        )
        for number in sorted(numbers.written | numbers.sentinels)
    )


def _lacks(number: int, numbers: CheckpointNumbers) -> str:
    if number in numbers.complete:
        return ""
    if number in numbers.written:
        return f"sentinel_checkpoint_complete.{number}"
    return f"ckpt.{number} or tf_ckpt-{number}.index"
