"""The files of one saved replay buffer, as Dopamine's `OutOfGraphReplayBuffer.save` names them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from rrl_agents.checkpoints.find_checkpoint import CHECKPOINTS_DIRECTORY

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


def find_replay(path: Path, number: int | None = None) -> ReplayFiles:
    """Find a saved buffer; sentinels and the agent's own checkpoint need not be there.

    Args:
        path: An agent's directory, or its `checkpoints` directory.
        number: Which buffer; the newest whole one when None.

    Raises:
        ValueError: There is none, or files of it are missing; the message lists what there is.
    """
    if not path.is_dir():
        raise ValueError(f"{path}: no such directory; give the one that holds $store$_*_ckpt.N.gz")
    inner = path / CHECKPOINTS_DIRECTORY
    directory = inner if inner.is_dir() else path
    matches = (_OBSERVATIONS.fullmatch(entry.name) for entry in directory.iterdir())
    found = sorted(int(match[1]) for match in matches if match is not None)
    if not found:
        raise ValueError(
            f"{directory}: no replay buffer here ($store$_observation_ckpt.N.gz); give the "
            "directory that holds one"
        )
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
