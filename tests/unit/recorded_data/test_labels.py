"""Labels on disk: resumed where they were, and refused where they are of something else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_agents.checkpoints.sealed_json import seal, unseal
from services.recorded_data.labels import LabelManifest, Labels
from services.shared.errors import UserError
from tests.support.disk import files_of_at_most

MANIFEST = LabelManifest(
    data_fingerprint="ab" * 32, rows=10, num_actions=3, teacher="t", teacher_version="cd" * 8
)


def scores(rows: int, first: int = 0) -> NDArray[np.float32]:
    return np.arange(3 * first, 3 * (first + rows), dtype=np.float32).reshape(rows, 3)


def test_labels_go_on_where_they_were_closed(tmp_path: Path) -> None:
    # What was cut short before the manifest was there is no obstacle.
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/scores.npy").write_bytes(b"half a header")
    with Labels(tmp_path / "labels", MANIFEST) as labels:
        assert labels.rows_done == 0
        labels.append(scores(4))
        assert labels.rows_done == 4
    with Labels(tmp_path / "labels", MANIFEST) as labels:
        assert labels.rows_done == 4
        labels.append(scores(6, first=4))
        assert labels.read(0, 10).tolist() == scores(10).tolist()
    # The file is numpy's.
    stored = np.load(tmp_path / "labels/scores.npy", allow_pickle=False)
    assert stored.dtype == np.float32
    assert stored.tolist() == scores(10).tolist()


def test_rows_that_were_not_synced_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_disk() -> object:
        return unseal((tmp_path / "progress.json").read_text())["rows"]

    found = []
    with Labels(tmp_path, MANIFEST) as labels:
        for rows, seconds in ((3, 1e9), (2, 0.0), (4, 1e9)):
            monkeypatch.setattr("services.recorded_data.labels.SECONDS_BETWEEN_SYNCS", seconds)
            labels.append(scores(rows))
            found.append(on_disk())
    assert [*found, on_disk()] == [0, 5, 5, 9]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data_fingerprint", "00" * 32),
        ("rows", 11),
        ("num_actions", 4),
        ("teacher", "u"),
        ("teacher_version", "00" * 8),
        ("output", "logits"),
        ("temperature", 2.0),
    ],
)
def test_labels_of_something_else_are_not_continued(
    field: str, value: object, tmp_path: Path
) -> None:
    Labels(tmp_path, MANIFEST).close()
    other = dataclasses.replace(MANIFEST, **{field: value})
    with pytest.raises(UserError, match=f"labels of another {field.replace('_', ' ')}"):
        Labels(tmp_path, other)


def test_two_processes_do_not_write_one_folder(tmp_path: Path) -> None:
    with Labels(tmp_path, MANIFEST), pytest.raises(UserError, match="in use by another process"):
        Labels(tmp_path, MANIFEST)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("labels", "cannot hold labels"),
        ("labels/thesis.txt", r"holds thesis\.txt and no labels"),
    ],
)
def test_what_is_no_folder_of_labels_is_left_alone(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("all of it")
    with pytest.raises(UserError, match=reason):
        Labels(tmp_path / "labels", MANIFEST)


def resealed(content: bytes, **changes: object) -> bytes:
    return seal(unseal(content.decode()) | changes).encode()


DAMAGES = {
    "cut scores": ("scores.npy", lambda content: content[:-1]),
    "grown scores": ("scores.npy", lambda content: content + b"!"),
    "another header": ("scores.npy", lambda content: content.replace(b"<f4", b"<i4")),
    "no JSON": ("labels.json", lambda _: b"{"),
    "a binary manifest": ("labels.json", lambda _: b"\xff\xfe"),
    "a huge manifest": ("labels.json", lambda _: b" " * 100_000),
    "a changed manifest": ("labels.json", lambda c: c.replace(b'"rows": 10', b'"rows": 11')),
    "a manifest with a field more": ("labels.json", lambda c: resealed(c, a=1)),
    "a manifest of no rows": ("labels.json", lambda c: resealed(c, rows=0)),
    "progress beyond the end": ("progress.json", lambda c: resealed(c, rows=11)),
    "negative progress": ("progress.json", lambda c: resealed(c, rows=-1)),
    "progress that is not a number": ("progress.json", lambda c: resealed(c, rows="3")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_labels_are_refused(damage: str, tmp_path: Path) -> None:
    Labels(tmp_path, MANIFEST).close()
    name, spoil = DAMAGES[damage]
    (tmp_path / name).write_bytes(spoil((tmp_path / name).read_bytes()))
    with pytest.raises(UserError, match="damaged"):
        Labels(tmp_path, MANIFEST)


@pytest.mark.parametrize("bit", range(0, 8 * 4 * 12, 7))
def test_a_bit_of_a_score_that_turned_over_is_seen(bit: int, tmp_path: Path) -> None:
    with Labels(tmp_path, MANIFEST) as labels:
        labels.append(scores(4))
    file = tmp_path / "scores.npy"
    content = bytearray(file.read_bytes())
    # Behind the header lie 10 rows of 3 scores of 4 bytes.
    content[len(content) - 10 * 3 * 4 + bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"scores\.npy: these labels are damaged"):
        Labels(tmp_path, MANIFEST)


@pytest.mark.parametrize("byte", [b"(", b"\x00", b"\xff"])
def test_a_header_with_another_byte_is_refused(byte: bytes, tmp_path: Path) -> None:
    Labels(tmp_path, MANIFEST).close()
    file = tmp_path / "scores.npy"
    content = file.read_bytes()
    assert content[127:128] == b"\n"  # the end of numpy's header
    for place in range(128):
        if content[place : place + 1] == byte:
            continue
        file.write_bytes(content[:place] + byte + content[place + 1 :])
        with pytest.raises(UserError, match=r"scores\.npy: these labels are damaged: remove the"):
            Labels(tmp_path, MANIFEST)


def test_scores_that_no_longer_fit_the_disk_are_told_of_and_not_counted(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"labels: cannot be written \(File too large\)"),
        Labels(tmp_path / "labels", MANIFEST) as labels,
    ):
        labels.append(scores(4))
        # In the middle of the sixth row, behind a header of 128 bytes.
        with files_of_at_most(128 + 12 * 5 + 6):
            labels.append(scores(4, first=4))
    assert labels.rows_done == 4
    with Labels(tmp_path / "labels", MANIFEST) as labels:
        labels.append(scores(10)[labels.rows_done :])
        assert labels.read(0, 10).tolist() == scores(10).tolist()
