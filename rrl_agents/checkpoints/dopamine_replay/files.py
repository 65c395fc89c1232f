"""The files of one saved replay buffer, as Dopamine's `OutOfGraphReplayBuffer.save` names them.

Dopamine writes them beside the agent's checkpoints, into BASE/checkpoints; the data sets that were
released keep them in BASE/replay_logs.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from rrl_agents.checkpoints.find_checkpoint import CHECKPOINTS_DIRECTORY

REPLAY_DIRECTORIES = (CHECKPOINTS_DIRECTORY, "replay_logs")
"""Where an agent's directory may have them."""

_COLUMNS = ("observation", "action", "reward", "terminal")
_COUNTERS = ("add_count", "invalid_range")
_OBSERVATIONS = re.compile(r"\$store\$_observation_ckpt\.(0|[1-9][0-9]{0,8})\.gz")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplayFiles:
    """Where the parts of one buffer lie.

    Attributes:
        directory: The folder of all of them.
        number: N of their names, Dopamine's iteration.
    """

    directory: Path
    number: int

    def column(self, name: str) -> Path:
        """File of a stored column, e.g. "observation"."""
        return self.member(f"$store$_{name}")

    def member(self, name: str) -> Path:
        """File of another attribute of the buffer, e.g. "add_count"."""
        return self.directory / f"{name}_ckpt.{self.number}.gz"

    @property
    def missing(self) -> list[str]:
        """Names of the files that must be there and are not."""
        needed = [*map(self.column, _COLUMNS), *map(self.member, _COUNTERS)]
        return [file.name for file in needed if not file.is_file()]


def replay_directories(path: Path) -> list[Path]:
    """The directories with saved buffers among those that are meant by a path.

    Args:
        path: An agent's directory, or its `checkpoints` or `replay_logs`. One of these that holds
            a buffer is meant alone; one that holds none leads to the other.
    """
    is_inner = path.absolute().name in REPLAY_DIRECTORIES
    if is_inner and buffer_numbers(path):
        return [path]
    base = path.absolute().parent if is_inner else path
    found = [path, *(path / name for name in REPLAY_DIRECTORIES)]
    beside = [base / name for name in REPLAY_DIRECTORIES] if is_inner else []
    return [each for each in found if buffer_numbers(each)] or [
        each for each in beside if buffer_numbers(each)
    ]


def buffer_numbers(directory: Path) -> list[int]:
    """The numbers N of the buffers whose frames lie in a directory, sorted; whole or not."""
    if not directory.is_dir():
        return []
    matches = (_OBSERVATIONS.fullmatch(entry.name) for entry in directory.iterdir())
    return sorted(int(match[1]) for match in matches if match is not None)


def find_replay(path: Path, number: int | None = None) -> ReplayFiles:
    """Find a saved buffer; sentinels and the agent's own checkpoint need not be there.

    Args:
        path: An agent's directory, or its `checkpoints` or `replay_logs`.
        number: Which buffer; the newest whole one when None.

    Raises:
        ValueError: There is none, two directories hold some, or files of it are missing; the
            message lists what there is.
    """
    if not path.is_dir():
        raise ValueError(f"{path}: no such directory; give the one that holds $store$_*_ckpt.N.gz")
    directory = _only_directory(path, number)
    found = buffer_numbers(directory)
    if number is not None and number not in found:
        raise ValueError(f"{directory}: no replay buffer {number}; there are {found}")
    wanted = found if number is None else [number]
    candidates = [ReplayFiles(directory=directory, number=each) for each in reversed(wanted)]
    for files in candidates:
        if not files.missing:
            return files
    newest = candidates[0]
    raise ValueError(
        f"{directory}: replay buffer {newest.number} lacks {', '.join(newest.missing)}; copy all "
        "of its files"
    )


def _only_directory(path: Path, number: int | None) -> Path:
    directories = replay_directories(path)
    if not directories:
        raise ValueError(
            f"{path}: no replay buffer here ($store$_observation_ckpt.N.gz), nor in "
            f"{' or '.join(REPLAY_DIRECTORIES)} of the agent; give the directory that holds one"
        )
    fitting = [each for each in directories if number in buffer_numbers(each)]
    if len(fitting) == 1:
        return fitting[0]
    if len(directories) > 1:
        held = "; ".join(f"{each} holds {buffer_numbers(each)}" for each in directories)
        raise ValueError(f"{path}: several directories hold replay buffers ({held}); name one")
    return directories[0]
