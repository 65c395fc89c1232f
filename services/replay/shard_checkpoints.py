"""A replay shard's part of the run's checkpoints: its tables, in a folder per checkpoint.

    RUN/replay/00/working/<time>/          Reverb writes here; deleted once the files are linked
    RUN/replay/00/checkpoints/00000007/    hard links to them, and their sizes

A checkpoint of the run is complete once the learner has saved its own part. If the learner never
did, the next tables with that number replace these.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from rrl_agents.checkpoints.sealed_json import seal, unseal
from services.replay.checkpoint import link_checkpoint
from services.shared.errors import UserError
from services.shared.numbered_folders import NumberedFolders

_SIZES_FILE = "sizes.json"
_MAX_SIZES_BYTES = 2**12


class ShardCheckpoints:
    """The saved tables of one shard.

    Args:
        folder: Folder for the tables, created with the first checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self._folders = NumberedFolders(folder)

    def numbers(self) -> list[int]:
        """Numbers of the saved checkpoints, newest first."""
        return self._folders.numbers()

    def tables(self, number: int) -> Path:
        """The folder with the tables of a checkpoint.

        Raises:
            LookupError: there are no tables with that number.
            UserError: the size of a file has changed since it was saved. Reverb verifies each
                record, but does not detect missing records at the end of a file.
        """
        path = self._folders.path(number)
        if not path.is_dir():
            raise LookupError(
                f"{self._folders.folder} holds no tables of checkpoint {number} (it has those of "
                f"{self.numbers() or 'none'}); restore the shard's folder from the backup that has "
                "the learner's checkpoint, or choose another --run"
            )
        if _read_sizes(path / _SIZES_FILE) != _sizes(path):
            raise UserError(f"{path} has changed since it was written; choose another checkpoint")
        return path

    def save(self, number: int, written: Path, keep: Collection[int]) -> int:
        """Save the tables that Reverb has written under a checkpoint's number.

        Args:
            number: Number of the checkpoint; earlier tables with this number are replaced.
            written: Folder of Reverb's checkpoint, on this file system or another.
            keep: Numbers of the other checkpoints to keep; the rest are deleted.

        Returns:
            Size of the tables in bytes.

        Raises:
            OSError: no space, or no permission; tables of other checkpoints stay.
            UserError: `written` is not a complete checkpoint.
        """
        with self._folders.writing(number) as folder:
            link_checkpoint(written, folder)
            sizes = _sizes(folder)
            (folder / _SIZES_FILE).write_text(seal(sizes))
        self._folders.keep_only((number, *keep))
        return sum(sizes.values())


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
