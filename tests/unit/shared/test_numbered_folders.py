"""Numbered folders are complete or absent, and only they are counted and deleted.

That a kill or a power loss at any step leaves the folders from before: `tests/faults/test_crashes`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.shared.numbered_folders import NumberedFolders


def write(folders: NumberedFolders, number: int, text: str = "content") -> None:
    with folders.writing(number) as folder:
        folder.mkdir()
        (folder / "file").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_has_its_name_once_it_is_written(tmp_path: Path) -> None:
    folders = NumberedFolders(tmp_path / "a" / "b")
    assert folders.numbers() == []
    with folders.writing(7) as folder:
        folder.mkdir()
        (folder / "file").write_text("content")
        assert folder.is_absolute() and folders.numbers() == []
    assert folders.numbers() == [7]
    assert names(folders.folder) == ["00000007"]
    assert (folders.path(7) / "file").read_text() == "content"


def test_a_folder_that_cannot_be_written_leaves_nothing_and_the_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = NumberedFolders(tmp_path)
    write(folders, 1)

    def disk_full(descriptor: int) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(os, "fsync", disk_full)
        write(folders, 2)
    with pytest.raises(KeyboardInterrupt), folders.writing(2) as folder:
        folder.mkdir()
        raise KeyboardInterrupt
    assert names(tmp_path) == ["00000001"]


def test_what_a_killed_process_left_is_removed_before_the_next(tmp_path: Path) -> None:
    folders = NumberedFolders(tmp_path)
    for number in (2, 5):
        (tmp_path / f".writing-{number:08d}").mkdir()
        (tmp_path / f".writing-{number:08d}" / "half").touch()
    assert folders.numbers() == []
    write(folders, 2, "old")
    assert names(tmp_path) == ["00000002"]
    assert names(folders.path(2)) == ["file"]
    # One of the same number is replaced.
    write(folders, 2, "new")
    assert (folders.path(2) / "file").read_text() == "new"


def test_only_numbered_folders_are_counted_and_deleted(tmp_path: Path) -> None:
    folders = NumberedFolders(tmp_path)
    for number in (3, 12, 4):
        write(folders, number)
    for other in ("notes", "7", "0000000x", "00000012.bak"):
        (tmp_path / other).mkdir()
    assert folders.numbers() == [12, 4, 3]
    folders.keep_only((12, 3, 99))
    assert folders.numbers() == [12, 3]
    assert {"notes", "7", "0000000x", "00000012.bak"} < set(names(tmp_path))
