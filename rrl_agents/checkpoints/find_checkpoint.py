"""Which file of a Dopamine agent's directory to read.

Dopamine writes `ckpt.N` first and an empty-handed `sentinel_checkpoint_complete.N` last, so a
number without its sentinel is a checkpoint that was interrupted.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

CHECKPOINTS_DIRECTORY = "checkpoints"
_CHECKPOINT = "ckpt"
_SENTINEL = "sentinel_checkpoint_complete"
_SHOWN = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class DopamineCheckpoint:
    """One checkpoint.

    Attributes:
        file: The pickle `ckpt.N`.
        number: N, Dopamine's iteration.
    """

    file: Path
    number: int


def find_checkpoint(path: Path, number: int | None = None) -> DopamineCheckpoint:
    """Find the checkpoint to import.

    Args:
        path: The agent's directory, its `checkpoints` directory, or one `ckpt.N` file. The file
            needs no sentinel: whoever names it has chosen it.
        number: Which checkpoint; the newest complete one when None.

    Returns:
        The file and its number.

    Raises:
        ValueError: When it is not there or not complete; the message lists what is.
    """
    if path.is_file():
        return _named_file(path, number)
    if not path.is_dir():
        raise ValueError(f"{path}: no such file or directory; give a Dopamine agent's directory")
    inner = path / CHECKPOINTS_DIRECTORY
    directory = inner if inner.is_dir() else path
    written, complete = _numbers(directory, _CHECKPOINT), _numbers(directory, _SENTINEL)
    usable = written & complete
    if number is None and usable:
        number = max(usable)
    if number is None or number not in usable:
        raise ValueError(_nothing_usable(directory, number, written, complete))
    return DopamineCheckpoint(file=directory / f"{_CHECKPOINT}.{number}", number=number)


def has_tensorflow_files(checkpoint: DopamineCheckpoint) -> bool:
    """Whether the agent's weights lie in TensorFlow files beside the pickle."""
    return checkpoint.file.with_name(f"tf_ckpt-{checkpoint.number}.index").exists()


def _named_file(path: Path, number: int | None) -> DopamineCheckpoint:
    match = re.fullmatch(rf"{_CHECKPOINT}\.([0-9]{{1,9}})", path.name)
    if match is None:
        raise ValueError(f"{path}: no Dopamine checkpoint, whose files are named {_CHECKPOINT}.N")
    if number is not None and number != int(match[1]):
        raise ValueError(f"{path}: this is checkpoint {match[1]}, not {number}; name one of them")
    return DopamineCheckpoint(file=path, number=int(match[1]))


def _numbers(directory: Path, stem: str) -> set[int]:
    matches = (
        re.fullmatch(rf"{re.escape(stem)}\.(0|[1-9][0-9]{{0,8}})", entry.name)
        for entry in directory.iterdir()
    )
    return {int(match[1]) for match in matches if match is not None}


def _nothing_usable(
    directory: Path, number: int | None, written: set[int], complete: set[int]
) -> str:
    wanted = "a complete checkpoint" if number is None else f"checkpoint {number}"
    if not written and not complete:
        entries = sorted(entry.name for entry in directory.iterdir())
        shown = ", ".join(entries[:_SHOWN]) or "nothing"
        more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
        return (
            f"{directory}: no {wanted.removeprefix('a ')} here, found {shown}{more}; give the "
            f"directory that holds {_CHECKPOINT}.N and {_SENTINEL}.N"
        )
    return (
        f"{directory}: {wanted} needs {_CHECKPOINT}.N and {_SENTINEL}.N; found {_CHECKPOINT} of "
        f"{sorted(written)} and {_SENTINEL} of {sorted(complete)}; choose a number in both, or "
        f"name a {_CHECKPOINT}.N file itself"
    )
