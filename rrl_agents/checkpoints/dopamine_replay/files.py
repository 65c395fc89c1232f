"""The files of one saved replay buffer, as Dopamine's `OutOfGraphReplayBuffer.save` names them.

Dopamine writes them beside the agent's checkpoints, into BASE/checkpoints; the released data sets
have them in BASE/replay_logs.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from rrl_agents.checkpoints.find_checkpoint import CHECKPOINTS_DIRECTORY

REPLAY_DIRECTORIES = (CHECKPOINTS_DIRECTORY, "replay_logs")
"""Possible subfolders of an agent's directory."""

NEEDED = (
    *("$store$_observation", "$store$_action", "$store$_reward", "$store$_terminal"),
    *("add_count", "invalid_range"),
)
"""Attributes of a buffer that are required to read it."""

_OBSERVATIONS = re.compile(r"\$store\$_observation_ckpt\.(0|[1-9][0-9]{0,8})\.gz")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplayFiles:
    """The files of one buffer.

    Attributes:
        directory: Their folder.
        number: N in their names, Dopamine's iteration.
    """

    directory: Path
    number: int

    def member(self, name: str) -> Path:
        """File of a buffer's attribute, e.g. "add_count", or "$store$_action"."""
        return self.directory / f"{name}_ckpt.{self.number}.gz"

    @property
    def missing(self) -> list[str]:
        """Names of required files that are missing."""
        return [file.name for file in map(self.member, NEEDED) if not file.is_file()]


def replay_directories(path: Path) -> dict[Path, list[int]]:
    """The directories with saved buffers for a path, and the numbers of their buffers.

    Args:
        path: An agent's directory, or its `checkpoints` or `replay_logs`. If one of the two has a
            buffer, only that one counts; otherwise the other is searched.
    """
    if path.absolute().name in REPLAY_DIRECTORIES:
        if numbers := _buffer_numbers(path):
            return {path: numbers}
        path = path.absolute().parent
    folders = [path, *(path / name for name in REPLAY_DIRECTORIES)]
    held = {folder: _buffer_numbers(folder) for folder in folders}
    return {folder: numbers for folder, numbers in held.items() if numbers}


def _buffer_numbers(directory: Path) -> list[int]:
    """The numbers N of the buffers in a directory, complete or not, sorted."""
    if not directory.is_dir():
        return []
    matches = (_OBSERVATIONS.fullmatch(entry.name) for entry in directory.iterdir())
    return sorted(int(match[1]) for match in matches if match is not None)


def find_replay(path: Path, number: int | None = None) -> ReplayFiles:
    """Find a saved buffer; sentinels and the agent's checkpoint are not required.

    Args:
        path: An agent's directory, or its `checkpoints` or `replay_logs`.
        number: Number of the buffer; None for the newest complete one.

    Raises:
        ValueError: There is none, both directories have buffers, or files are missing; the message
            lists what exists.
    """
    held = replay_directories(path)
    if not held:
        raise ValueError(
            f"{path}: no replay buffer here ($store$_observation_ckpt.N.gz), nor in "
            f"{' or '.join(REPLAY_DIRECTORIES)} of the agent; give the directory that holds one"
        )
    fitting = [folder for folder, found in held.items() if number is None or number in found]
    if len(fitting) != 1:
        shown = "; ".join(f"{folder} holds {found}" for folder, found in held.items())
        wanted = "a replay buffer" if number is None else f"replay buffer {number}"
        raise ValueError(
            f"{path}: {len(fitting)} directories hold {wanted} ({shown}); name one of these"
        )
    numbers = held[fitting[0]] if number is None else [number]
    candidates = [ReplayFiles(directory=fitting[0], number=each) for each in reversed(numbers)]
    files = next((files for files in candidates if not files.missing), candidates[0])
    if files.missing:
        raise ValueError(
            f"{files.directory}: replay buffer {files.number} lacks {', '.join(files.missing)}; "
            "copy all of its files"
        )
    return files
