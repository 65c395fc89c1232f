"""Checkpoints of the tables in this process."""

from __future__ import annotations

import dataclasses
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from services.replay.config import ReplayConfig
from services.replay.failures import SaveFailed, TablesUnusable
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.local_tables import LocalTables
from services.replay.local_writer import LocalWriter
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE

LAYOUT = ItemLayout(frame_shape=(2,), stack_size=1, n_step=1, num_actions=2, clips_rewards=False)


def made(folder: Path, layout: ItemLayout = LAYOUT) -> LocalTables:
    return LocalTables(
        ReplayConfig(layout=layout, checkpoint_root=folder / "working", min_student_size=1),
        folder / "checkpoints",
    )


def play(tables: LocalTables, name: str, steps: int, layout: ItemLayout = LAYOUT) -> None:
    writer = LocalWriter(tables.tables[name], layout, 1)
    for number in range(steps):
        ends = number == steps - 1
        writer.append(
            0, StepRow(np.full(layout.frame_shape, number % 256, np.uint8), 0, 1.0, ends, None)
        )
    writer.end_episode(0, None)


def counts(tables: LocalTables) -> tuple[int, int]:
    return (tables.tables[TEACHER_TABLE].inserted, tables.tables[STUDENT_TABLE].inserted)


def test_tables_go_back_to_a_checkpoint(tmp_path: Path) -> None:
    tables = made(tmp_path)
    play(tables, TEACHER_TABLE, 5)
    play(tables, STUDENT_TABLE, 3)
    tables.save(1, keep=[])
    play(tables, STUDENT_TABLE, 4)
    tables.save(2, keep=[1])
    other = made(tmp_path)
    other.restore(1)
    assert counts(other) == (5, 3)
    other.restore(2)
    assert counts(other) == (5, 7)
    other.restore(0)
    assert counts(other) == (0, 0)


def test_a_teachers_table_that_has_not_changed_is_not_written_again(tmp_path: Path) -> None:
    tables = made(tmp_path)
    play(tables, TEACHER_TABLE, 5)
    tables.save(1, keep=[])
    tables.save(2, keep=[])
    assert not (tmp_path / "checkpoints" / "00000001").exists()
    resumed = made(tmp_path)
    resumed.restore(2)
    resumed.save(3, keep=[2])
    files = [tmp_path / "checkpoints" / f"{number:08d}" / "teacher.npz" for number in (2, 3)]
    assert files[0].samefile(files[1])
    last = made(tmp_path)
    last.restore(3)
    assert counts(last) == (5, 0)


def test_a_file_system_without_hard_links_gets_the_teachers_table_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*paths: Path) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    tables = made(tmp_path)
    play(tables, TEACHER_TABLE, 5)
    tables.save(1, keep=[])
    tables.save(2, keep=[1])
    for number in (1, 2):
        resumed = made(tmp_path)
        resumed.restore(number)
        assert counts(resumed) == (5, 0)


def test_saving_takes_the_memory_of_a_table_once(tmp_path: Path) -> None:
    frame_bytes, steps = 2**17, 500
    layout = dataclasses.replace(LAYOUT, frame_shape=(frame_bytes,))
    tables = made(tmp_path, layout)
    play(tables, STUDENT_TABLE, steps, layout)
    tracemalloc.start()
    try:
        tables.save(1, keep=[])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # One copy of the rows, and the 16 MiB pieces in which numpy writes it: of 64 MB.
    assert peak < 1.7 * frame_bytes * steps


@pytest.mark.parametrize("file", ["teacher.npz", "student.npz", "digests.json"])
@pytest.mark.parametrize("damage", ["missing", "cut short", "changed", "pickle"])
def test_damaged_tables_are_refused(tmp_path: Path, file: str, damage: str) -> None:
    tables = made(tmp_path)
    play(tables, STUDENT_TABLE, 50)
    tables.save(1, keep=[])
    path = tmp_path / "checkpoints" / "00000001" / file
    content = path.read_bytes()
    middle = len(content) // 2
    if damage == "missing":
        path.unlink()
    elif damage == "cut short":
        path.write_bytes(content[:middle])
    elif damage == "pickle":
        path.write_bytes(b"\x80\x04K\x01.")
    else:
        path.write_bytes(content[:middle] + b"~" + content[middle + 1 :])
    with pytest.raises(TablesUnusable, match="checkpoint 1"):
        made(tmp_path).restore(1)


def test_tables_of_a_checkpoint_that_there_is_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TablesUnusable, match="checkpoint 7"):
        made(tmp_path).restore(7)


def test_a_folder_that_cannot_be_written_is_a_failure_to_save(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder is to be")
    with pytest.raises(SaveFailed, match="checkpoints"):
        made(tmp_path).save(1, keep=[])
