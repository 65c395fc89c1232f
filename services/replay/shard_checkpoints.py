"""A shard's part of a run's commits: the tables as they were at each, under the commit's number.

    RUN/replay/00/working/<time>/       Reverb writes here; gone once the commit has it
    RUN/replay/00/commits/00000007/     hard-linked from there, complete or not there

A commit of the run is complete once the learner has written its own part; tables under a number
that the learner never finished are replaced by the next ones of that number.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from rrl_agents.checkpoints.sealed_json import seal, unseal
from rrl_agents.durable_files import make_folders, rename_whole
from services.replay.checkpoint import check_checkpoint, link_checkpoint
from services.shared.errors import UserError

_TEMPORARY_PREFIX = ".writing-"
_SIZES_FILE = "sizes.json"
_MAX_SIZES_BYTES = 2**12


class ShardCheckpoints:
    """Where one shard keeps its tables.

    Args:
        folder: Where; made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._commits = folder

    def numbers(self) -> list[int]:
        """Commits whose tables are kept, the newest first."""
        names = (path.name for path in self._commits.glob("*"))
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def tables(self, number: int) -> Path:
        """A commit's tables.

        Raises:
            LookupError: none are kept under that number.
            UserError: they are not as long as they were: Reverb, whose records have checksums,
                would not miss those that are cut off at the end.
        """
        path = self._path(number)
        if not path.is_dir():
            raise LookupError(
                f"{self._commits} holds no tables of checkpoint {number}, only of "
                f"{self.numbers() or 'none'}; bring the shard's folder back from the backup that "
                "the learner's is of, or choose another --run"
            )
        if _read_sizes(path / _SIZES_FILE) != _sizes(path):
            raise UserError(f"{path} is not as it was written; choose another checkpoint")
        return path

    def keep(self, number: int, written: Path, others: Collection[int]) -> int:
        """Keep a checkpoint that Reverb has written as a commit's, and drop older ones.

        Args:
            number: Of the commit; what lies there already is replaced.
            written: Reverb's checkpoint, on this file system or another.
            others: Numbers that stay, too.

        Returns:
            Bytes of what is kept under `number`.

        Raises:
            OSError: no space, no permission; what was kept before stays.
            UserError: `written` is no complete checkpoint.
        """
        check_checkpoint(written)
        make_folders(self._commits)
        for leftover in self._commits.glob(f"{_TEMPORARY_PREFIX}*"):
            shutil.rmtree(leftover)
        temporary = self._commits / f"{_TEMPORARY_PREFIX}{number:08d}"
        link_checkpoint(written, temporary)
        sizes = _sizes(temporary)
        (temporary / _SIZES_FILE).write_text(seal(sizes))
        path = self._path(number)
        if path.exists():
            shutil.rmtree(path)
        rename_whole(temporary, path)
        for other in self.numbers():
            if other != number and other not in others:
                shutil.rmtree(self._path(other), ignore_errors=True)
        return sum(sizes.values())

    def _path(self, number: int) -> Path:
        return self._commits / f"{number:08d}"


def _sizes(folder: Path) -> dict[str, int]:
    files = (file for file in folder.iterdir() if file.name != _SIZES_FILE)
    return {file.name: file.stat().st_size for file in files}


def _read_sizes(file: Path) -> object:
    try:
        if file.stat().st_size <= _MAX_SIZES_BYTES:
            return unseal(file.read_text())
    except (OSError, ValueError):
        pass
    return None
