from __future__ import annotations

import os
from pathlib import Path

import pytest

from rrl_agents.checkpoints.bounded_files import read_bounded


def test_a_file_within_the_bound_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bounded(tmp_path / "a", 5, what="a list") == b"12345"


def test_a_larger_file_is_refused_by_its_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    os.truncate(tmp_path / "a", 1 << 40)  # Takes no space on disk.
    with pytest.raises(ValueError, match=r"1099511627776 bytes, more than the 5 that a list may"):
        read_bounded(tmp_path / "a", 5, what="a list")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    with pytest.raises(ValueError, match="no regular file; give the file of a list"):
        read_bounded(tmp_path / "a", 5, what="a list")


def test_an_endless_device_is_refused() -> None:
    with pytest.raises(ValueError, match="no regular file"):
        read_bounded(Path("/dev/zero"), 5, what="a list")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"/a: cannot be read \(No such file"):
        read_bounded(tmp_path / "a", 5, what="a list")
