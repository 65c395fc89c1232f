"""Numbered folders that are complete or absent: the checkpoints of a run, and of a replay shard.

    FOLDER/00000007/            complete, and on disk
    FOLDER/.writing-00000008/   being written, or left by a process that was killed

A folder is written under a temporary name, flushed to disk and renamed, so that a crash or a power
loss leaves earlier folders intact.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from rrl_agents.durable_files import make_folders, rename_whole

TEMPORARY_PREFIX = ".writing-"
_NAME = re.compile(r"[0-9]{8,}")


class NumberedFolders:
    """The numbered folders in one folder; other content is left alone.

    Args:
        folder: Created with the first numbered folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def numbers(self) -> list[int]:
        """Numbers of the complete folders, newest first."""
        names = (path.name for path in self.folder.glob("*"))
        return sorted((int(name) for name in names if _NAME.fullmatch(name)), reverse=True)

    def path(self, number: int) -> Path:
        """The path of a number's folder, whether it exists or not."""
        return self.folder / f"{number:08d}"

    @contextlib.contextmanager
    def writing(self, number: int) -> Iterator[Path]:
        """Write or replace the folder of a number.

        Yields:
            An absolute path at which to create the folder. It is renamed when the block ends, and
            removed if the block fails, as others may need the space on a full disk.

        Raises:
            OSError: no space, no permission; complete folders stay, except one of that number.
        """
        make_folders(self.folder)
        for leftover in self.folder.glob(f"{TEMPORARY_PREFIX}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        path = self.path(number)
        temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}").absolute()
        try:
            yield temporary
            if path.exists():
                shutil.rmtree(path)
            rename_whole(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def keep_only(self, numbers: Collection[int]) -> None:
        """Delete the folders of all other numbers; one that cannot be deleted stays."""
        for number in self.numbers():
            if number not in numbers:
                shutil.rmtree(self.path(number), ignore_errors=True)
