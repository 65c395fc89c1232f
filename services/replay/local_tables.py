"""The two replay tables of a run in one process, and their part of the run's checkpoints.

    RUN/replay/00/checkpoints/00000007/
        teacher.npz, student.npz    rows, items and priorities (`local_table.SavedTable`)
        digests.json                SHA-256 of both

As with Reverb shards, a checkpoint of the run is complete once the learner has saved its own part.
If the teacher's table has not changed since the last checkpoint, its file is a hard link to the
earlier one, on file systems that have hard links.
"""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.sealed_json import seal, unseal
from services.replay.config import ReplayConfig
from services.replay.failures import SaveFailed, TablesUnusable
from services.replay.local_table import LocalTable, SavedTable
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.shared.file_digest import file_sha256
from services.shared.numbered_folders import NumberedFolders

_DIGESTS_FILE = "digests.json"
_MAX_DIGESTS_BYTES = 2**12


class LocalTables:
    """The teacher's and the student's table.

    Args:
        config: Sizes, limits and shapes; its ports and its rate limits are not used.
        folder: Folder for checkpoints, created with the first.

    Attributes:
        tables: The tables by name; `restore` replaces them by new ones.
    """

    def __init__(self, config: ReplayConfig, folder: Path) -> None:
        self._config = config
        self._folders = NumberedFolders(folder)
        # By table: the items inserted when it was last saved, and the file.
        self._saved: dict[str, tuple[int, Path]] = {}
        self.tables = self._empty()

    def save(self, number: int, keep: Collection[int]) -> None:
        """Save both tables under a checkpoint's number, and delete those of other numbers.

        Args:
            number: Number of the new checkpoint.
            keep: Numbers of the other checkpoints to keep.

        Raises:
            SaveFailed: no space, or no permission; tables of other checkpoints stay.
        """
        try:
            with self._folders.writing(number) as folder:
                folder.mkdir()
                for name, table in self.tables.items():
                    self._save(name, table, folder / f"{name}.npz")
                (folder / _DIGESTS_FILE).write_text(seal(_digests(folder)))
        except OSError as error:
            raise SaveFailed(f"replay in {self._folders.folder}: {error}") from error
        self._note(number)
        self._folders.keep_only((number, *keep))

    def restore(self, number: int) -> None:
        """Load the tables of a checkpoint, or empty tables for checkpoint 0.

        Raises:
            TablesUnusable: the checkpoint has no tables, or they are damaged.
        """
        self.tables = self._empty()
        if number == 0:
            return
        path = self._folders.path(number)
        try:
            digests = read_bounded(path / _DIGESTS_FILE, _MAX_DIGESTS_BYTES, what="its digests")
            if unseal(digests.decode()) != _digests(path):
                raise ValueError("a file has changed since it was written")
            for name, table in self.tables.items():
                table.restore(load_table(path / f"{name}.npz"))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            self.tables = self._empty()
            raise TablesUnusable(
                f"the tables of checkpoint {number} in {path} cannot be loaded: {error}"
            ) from error
        self._note(number)

    def _empty(self) -> dict[str, LocalTable]:
        config = self._config
        return {
            TEACHER_TABLE: LocalTable(
                config.layout, config.teacher_capacity, most_inserted=config.teacher_steps
            ),
            STUDENT_TABLE: LocalTable(
                config.layout,
                config.student_capacity,
                priority_exponent=config.student_priority_exponent,
            ),
        }

    def _save(self, name: str, table: LocalTable, file: Path) -> None:
        inserted, before = self._saved.get(name, (-1, file))
        # The teacher's table changes by inserts only: an equal count means an equal content.
        if name == TEACHER_TABLE and inserted == table.inserted and before.exists():
            # Some file systems have no hard links.
            with contextlib.suppress(OSError):
                os.link(before, file)
                return
        with file.open("wb") as opened:
            save_table(opened, table)

    def _note(self, number: int) -> None:
        path = self._folders.path(number)
        self._saved = {
            name: (table.inserted, path / f"{name}.npz") for name, table in self.tables.items()
        }


def save_table(file: BinaryIO, table: LocalTable) -> None:
    """Write a table to an open file, for `load_table`."""
    # `asdict` would copy the arrays once more.
    np.savez(file, **vars(table.save()))


def load_table(file: Path) -> SavedTable:
    """Read a file of `save_table`; nothing in it is executed."""
    with np.load(file, allow_pickle=False) as arrays:
        return SavedTable(
            oldest_row=int(arrays["oldest_row"]),
            rows=arrays["rows"],
            inserted=int(arrays["inserted"]),
            items=arrays["items"],
            priorities=arrays["priorities"],
            largest_priority=float(arrays["largest_priority"]),
        )


def _digests(folder: Path) -> dict[str, str]:
    files = [folder / f"{name}.npz" for name in (TEACHER_TABLE, STUDENT_TABLE)]
    return {file.name: file_sha256(file) for file in files}
