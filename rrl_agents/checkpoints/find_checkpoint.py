"""Finds the checkpoints in a Dopamine agent's directory.

Dopamine writes the pickle `ckpt.N`, for TensorFlow agents also the variables `tf_ckpt-N.*`, and
finally a nearly empty `sentinel_checkpoint_complete.N`: a checkpoint without its sentinel was
interrupted. The published agents of the Dopamine and Lucid collections have no sentinels, and some
only have the variables: if a directory has no sentinel at all, none is required.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

CHECKPOINTS_DIRECTORY = "checkpoints"
_NUMBER = "(0|[1-9][0-9]{0,8})"
_NAMED = re.compile(rf"ckpt\.{_NUMBER}|tf_ckpt-{_NUMBER}(?:\..*)?")
_WRITTEN = re.compile(rf"ckpt\.{_NUMBER}|tf_ckpt-{_NUMBER}\.index")
_SENTINEL = re.compile(rf"sentinel_checkpoint_complete\.{_NUMBER}")
_SHOWN = 5
"""Most names of other files that an error lists."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DopamineCheckpoint:
    """A checkpoint, with at least one of its two parts.

    Attributes:
        directory: Folder of its files.
        number: N, Dopamine's iteration.
    """

    directory: Path
    number: int

    @property
    def pickle(self) -> Path:
        """The file `ckpt.N`: all of a JAX agent, the clocks of a TensorFlow agent."""
        return self.directory / f"ckpt.{self.number}"

    @property
    def index(self) -> Path:
        """The file `tf_ckpt-N.index`, which lists the variables of a TensorFlow agent."""
        return self.directory / f"tf_ckpt-{self.number}.index"

    @property
    def files(self) -> tuple[Path, ...]:
        """All of its files that are read."""
        data = sorted(self.directory.glob(f"{self.index.stem}.data-*"))
        return tuple(file for file in (self.pickle, self.index, *data) if file.is_file())

    @property
    def file(self) -> Path:
        """The file to name in messages: the pickle if there is one."""
        return self.files[0]

    @property
    def agent(self) -> Path:
        """The agent's directory."""
        directory = self.directory.absolute()
        is_inner = directory.name == CHECKPOINTS_DIRECTORY
        return (directory.parent if is_inner else directory).resolve()


def find_checkpoint(path: Path, number: int | None = None) -> DopamineCheckpoint:
    """Find the checkpoint to import.

    Args:
        path: The agent's directory, its `checkpoints` directory, or one checkpoint: a `ckpt.N`
            file, or `tf_ckpt-N` with or without an ending. A checkpoint given explicitly needs no
            sentinel.
        number: Number of the checkpoint; None for the newest complete one.

    Returns:
        The checkpoint.

    Raises:
        ValueError: When it is missing or incomplete; the message lists complete ones.
    """
    if path.is_dir():
        directory, numbers = checkpoints_directory(path), complete_checkpoints(path)
        _check_any_is_there(directory)
    else:
        named = _NAMED.fullmatch(path.name)
        if named is None:
            raise ValueError(
                f"{path}: no teacher's directory, ONNX file (.onnx) or Dopamine agent (its "
                "directory, ckpt.N or tf_ckpt-N.*), and no model of Stable-Baselines3 (.zip), "
                "PyTorch (.pt, .pth) or CleanRL (.cleanrl_model) by its name. Of another library, "
                "export the policy's network to ONNX, or give a Python policy that loads it as "
                "module:factory"
            )
        directory, numbers = path.parent, [int(named[1] or named[2])]
    chosen = max(numbers, default=0) if number is None else number
    checkpoint = DopamineCheckpoint(directory=directory, number=chosen)
    if chosen not in numbers or not (checkpoint.pickle.is_file() or checkpoint.index.is_file()):
        raise ValueError(
            f"{path}: checkpoint {'N' if number is None else number} is not here or not complete, "
            f"found {numbers}; a complete one has the file ckpt.N or tf_ckpt-N.index, and "
            "sentinel_checkpoint_complete.N where there are any of those. Copy it again from its "
            "source, or give another"
        )
    return checkpoint


def is_dopamine_file(path: Path) -> bool:
    """Whether a file is named like a checkpoint's."""
    return _NAMED.fullmatch(path.name) is not None


def checkpoints_directory(path: Path) -> Path:
    """Folder of an agent's checkpoints: its subfolder `checkpoints`, or the folder itself."""
    inner = path / CHECKPOINTS_DIRECTORY
    return inner if inner.is_dir() else path


def complete_checkpoints(path: Path) -> list[int]:
    """Numbers of the complete checkpoints in an agent's directory, ascending.

    Raises:
        OSError: When the directory can't be read.
    """
    names = [entry.name for entry in checkpoints_directory(path).iterdir()]
    written, sentinels = _numbers(names, _WRITTEN), _numbers(names, _SENTINEL)
    return sorted(written & sentinels if sentinels else written)


def _check_any_is_there(directory: Path) -> None:
    names = sorted(entry.name for entry in directory.iterdir())
    if not any(_NAMED.fullmatch(name) or _SENTINEL.fullmatch(name) for name in names):
        # Quoted, because names may contain terminal control characters.
        shown = ", ".join(map(repr, names[:_SHOWN])) or "nothing"
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise ValueError(
            f"{directory}: no complete checkpoint here, found {shown}{more}; give the directory "
            "that holds ckpt.N or tf_ckpt-N.index"
        )


def _numbers(names: list[str], pattern: re.Pattern[str]) -> set[int]:
    matches = filter(None, map(pattern.fullmatch, names))
    return {int(match[1] or match[2]) for match in matches}
