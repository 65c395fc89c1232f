"""Which files of a Dopamine agent's directory to read.

Dopamine writes the pickle `ckpt.N`, a TensorFlow agent also its variables `tf_ckpt-N.*`, and an
almost empty `sentinel_checkpoint_complete.N` last: a number without its sentinel is a checkpoint
that was interrupted. The published agents of the Dopamine and Lucid collections come without
sentinels, some with the variables only: where a directory holds no sentinel at all, none is needed.
"""

from __future__ import annotations

import dataclasses
import glob
import re
from pathlib import Path

from rrl_agents.checkpoints.other_libraries import what_other_library_saved

CHECKPOINTS_DIRECTORY = "checkpoints"
_PICKLE = "ckpt."
_TENSORFLOW = "tf_ckpt-"
_INDEX = ".index"
_SENTINEL = "sentinel_checkpoint_complete."
_NUMBER = "(0|[1-9][0-9]{0,8})"
_SHOWN = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class DopamineCheckpoint:
    """One checkpoint; it has at least one of the two parts.

    Attributes:
        number: N, Dopamine's iteration.
        pickle: The file `ckpt.N`: all of a JAX agent, the clocks of a TensorFlow agent.
        tensorflow_prefix: Path whose `.index` and `.data-*` hold a TensorFlow agent's variables.
    """

    number: int
    pickle: Path | None = None
    tensorflow_prefix: Path | None = None

    def __post_init__(self) -> None:
        """Refuse a checkpoint without files."""
        if self.pickle is None and self.tensorflow_prefix is None:
            raise ValueError(f"checkpoint {self.number} needs a pickle or TensorFlow's files")

    @property
    def file(self) -> Path:
        """The file to name in messages: the pickle where there is one."""
        if self.pickle is not None:
            return self.pickle
        assert self.tensorflow_prefix is not None
        return index_file(self.tensorflow_prefix)

    @property
    def files(self) -> tuple[Path, ...]:
        """All that is read of it."""
        files = [] if self.pickle is None else [self.pickle]
        if self.tensorflow_prefix is not None:
            shards = f"{glob.escape(self.tensorflow_prefix.name)}.data-*"
            files += sorted(self.tensorflow_prefix.parent.glob(shards))
            files.append(index_file(self.tensorflow_prefix))
        return tuple(files)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointNumbers:
    """What lies in a `checkpoints` directory.

    Attributes:
        pickles: Numbers with `ckpt.N`.
        tensorflow: Numbers with `tf_ckpt-N.index`.
        sentinels: Numbers with `sentinel_checkpoint_complete.N`.
    """

    pickles: frozenset[int]
    tensorflow: frozenset[int]
    sentinels: frozenset[int]

    @property
    def written(self) -> frozenset[int]:
        """Numbers that anything was written for."""
        return self.pickles | self.tensorflow

    @property
    def complete(self) -> frozenset[int]:
        """Numbers that can be read: those with a sentinel, or all where there is no sentinel."""
        return self.written & self.sentinels if self.sentinels else self.written


def find_checkpoint(path: Path, number: int | None = None) -> DopamineCheckpoint:
    """Find the checkpoint to import.

    Args:
        path: The agent's directory, its `checkpoints` directory, or one checkpoint: a `ckpt.N`
            file, or `tf_ckpt-N` with or without an ending. A checkpoint that is named needs no
            sentinel: whoever names it has chosen it.
        number: Which checkpoint; the newest complete one when None.

    Returns:
        The checkpoint.

    Raises:
        ValueError: When it is not there or not complete; the message lists what is.
    """
    if path.is_file() or index_file(path).is_file():
        return _named_checkpoint(path, number)
    if not path.is_dir():
        raise ValueError(f"{path}: no such file or directory; give a Dopamine agent's directory")
    directory = checkpoints_directory(path)
    numbers = checkpoint_numbers(directory)
    if number is None and numbers.complete:
        number = max(numbers.complete)
    if number is None or number not in numbers.complete:
        raise ValueError(_nothing_usable(directory, number, numbers))
    return _checkpoint(directory, number)


def checkpoints_directory(path: Path) -> Path:
    """Where an agent's checkpoints lie: its directory `checkpoints`, or the given one itself."""
    inner = path / CHECKPOINTS_DIRECTORY
    return inner if inner.is_dir() else path


def checkpoint_numbers(directory: Path) -> CheckpointNumbers:
    """List the checkpoints of a directory.

    Args:
        directory: A `checkpoints` directory.

    Returns:
        Their numbers.

    Raises:
        OSError: When the directory can't be read.
    """
    names = [entry.name for entry in directory.iterdir()]
    return CheckpointNumbers(
        pickles=_numbers(names, _PICKLE),
        tensorflow=_numbers(names, _TENSORFLOW, _INDEX),
        sentinels=_numbers(names, _SENTINEL),
    )


def checkpoint_file(path: Path, number: int) -> Path:
    """The file that names one checkpoint of an agent's directory, whether it is there or not."""
    pickle = checkpoints_directory(path) / f"{_PICKLE}{number}"
    index = index_file(pickle.with_name(f"{_TENSORFLOW}{number}"))
    return index if index.is_file() and not pickle.is_file() else pickle


def agent_directory(file: Path) -> Path:
    """The directory of the agent that a checkpoint's file is of."""
    directory = file.absolute().parent
    return directory.parent if directory.name == CHECKPOINTS_DIRECTORY else directory


def index_file(tensorflow_prefix: Path) -> Path:
    """The file that lists the variables of a TensorFlow checkpoint."""
    return tensorflow_prefix.parent / f"{tensorflow_prefix.name}{_INDEX}"


def _checkpoint(directory: Path, number: int) -> DopamineCheckpoint:
    pickle = directory / f"{_PICKLE}{number}"
    prefix = directory / f"{_TENSORFLOW}{number}"
    if not pickle.is_file() and not index_file(prefix).is_file():
        raise ValueError(
            f"{pickle}: no regular file (nor is {index_file(prefix).name}); copy it again from its "
            "source, or name another checkpoint"
        )
    return DopamineCheckpoint(
        number=number,
        pickle=pickle if pickle.is_file() else None,
        tensorflow_prefix=prefix if index_file(prefix).is_file() else None,
    )


def _named_checkpoint(path: Path, number: int | None) -> DopamineCheckpoint:
    match = re.fullmatch(
        rf"{re.escape(_PICKLE)}{_NUMBER}|{re.escape(_TENSORFLOW)}{_NUMBER}(?:\..*)?", path.name
    )
    if match is None:
        foreign = what_other_library_saved(path)
        if foreign is not None:
            raise ValueError(f"{path}: {foreign}")
        raise ValueError(
            f"{path}: no Dopamine checkpoint, whose files are named {_PICKLE}N or {_TENSORFLOW}N.*"
        )
    found = int(match[1] or match[2])
    if number is not None and number != found:
        raise ValueError(f"{path}: this is checkpoint {found}, not {number}; name one of them")
    if match[2] is not None and not index_file(path.with_name(f"{_TENSORFLOW}{found}")).is_file():
        raise ValueError(
            f"{path}: {_TENSORFLOW}{found}{_INDEX} is missing beside it; copy it from the same "
            "source"
        )
    return _checkpoint(path.parent, found)


def _numbers(names: list[str], stem: str, ending: str = "") -> frozenset[int]:
    pattern = re.compile(re.escape(stem) + _NUMBER + re.escape(ending))
    return frozenset(int(match[1]) for match in map(pattern.fullmatch, names) if match is not None)


def _nothing_usable(directory: Path, number: int | None, numbers: CheckpointNumbers) -> str:
    wanted = "a complete checkpoint" if number is None else f"checkpoint {number}"
    if not numbers.written and not numbers.sentinels:
        names = sorted(entry.name for entry in directory.iterdir())
        # File names may hold control characters, which would act on a terminal.
        entries = [name if name.isprintable() else ascii(name) for name in names]
        shown = ", ".join(entries[:_SHOWN]) or "nothing"
        more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
        return (
            f"{directory}: no {wanted.removeprefix('a ')} here, found {shown}{more}; give the "
            f"directory that holds {_PICKLE}N or {_TENSORFLOW}N{_INDEX}"
        )
    return (
        f"{directory}: {wanted} needs {_PICKLE}N or {_TENSORFLOW}N{_INDEX}, and {_SENTINEL}N where "
        f"there are any; found {_PICKLE}N of {sorted(numbers.pickles)}, {_TENSORFLOW}N of "
        f"{sorted(numbers.tensorflow)} and {_SENTINEL}N of {sorted(numbers.sentinels)}; choose a "
        "complete one, or name a checkpoint's file itself"
    )
