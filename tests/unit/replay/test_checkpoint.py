from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from services.replay.checkpoint import check_checkpoint, empty_checkpoint_root, link_checkpoint
from services.shared.errors import UserError


def make_checkpoint(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "chunks.tfrecord").write_bytes(b"chunks")
    (path / "items.tfrecord").write_bytes(b"items")
    (path / "tables.tfrecord").write_bytes(b"tables")
    (path / "DONE").touch()
    return path


def test_linking_keeps_the_data_when_the_working_checkpoint_goes(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "work" / "2026-01-01T00:00:00.1+00:00")
    link_checkpoint(source, tmp_path / "checkpoint" / "replay")
    assert os.path.samefile(
        source / "chunks.tfrecord", tmp_path / "checkpoint/replay/chunks.tfrecord"
    )
    empty_checkpoint_root(tmp_path / "work")
    assert not source.exists()
    assert (tmp_path / "checkpoint/replay/chunks.tfrecord").read_bytes() == b"chunks"
    check_checkpoint(tmp_path / "checkpoint/replay")


def test_without_hard_links_the_files_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    source = make_checkpoint(tmp_path / "source")
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    link_checkpoint(source, tmp_path / "copy")
    assert (tmp_path / "copy/tables.tfrecord").read_bytes() == b"tables"
    check_checkpoint(tmp_path / "copy")


def test_linking_never_writes_over_another_checkpoint(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "source")
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(FileExistsError):
        link_checkpoint(source, tmp_path / "checkpoint")


def truncate(file: Path) -> None:
    os.truncate(file, 0)


DATA = ("chunks.tfrecord", "items.tfrecord", "tables.tfrecord")


@pytest.mark.parametrize(
    ("name", "damage"),
    [*((name, Path.unlink) for name in ("DONE", *DATA)), *((name, truncate) for name in DATA)],
)
def test_an_incomplete_checkpoint_is_refused(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    source = make_checkpoint(tmp_path / "source")
    damage(source / name)
    with pytest.raises(UserError, match=f"lacks {name}.*choose another checkpoint"):
        check_checkpoint(source)
    with pytest.raises(UserError, match="choose another checkpoint"):
        link_checkpoint(source, tmp_path / "checkpoint")


def test_a_checkpoint_of_empty_tables_is_complete(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "source")
    for name in ("chunks.tfrecord", "items.tfrecord"):
        os.truncate(source / name, 0)
    check_checkpoint(source)


def test_a_working_checkpoint_that_cannot_be_removed_is_not_loaded_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(16, "Device or resource busy")

    working = make_checkpoint(tmp_path / "2026-01-01T00:00:00.1+00:00")
    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(UserError, match=f"{re.escape(str(working))} cannot be removed.*remove it"):
        empty_checkpoint_root(tmp_path)


def test_a_working_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    working = make_checkpoint(tmp_path / "2026-01-01T00:00:00.1+00:00")
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(UserError, match="holds thesis.tex"):
        empty_checkpoint_root(tmp_path)
    assert (tmp_path / "thesis.tex").exists()
    assert working.exists()
