from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.teacher.same_host import host, region
from services.teacher.same_host.socket_directory import SocketDirectory
from services.teacher.same_host.wire import Layout

LAYOUT = Layout(rows=5, num_actions=3, observation_shape=(7, 2), observation_dtype="uint8")


@pytest.fixture
def descriptor() -> Iterator[int]:
    made = region.create(LAYOUT)
    yield made
    os.close(made)


def mappings() -> int:
    return Path("/proc/self/maps").read_text().count("rrl-teacher-same-host")


def test_what_one_side_writes_the_other_reads(descriptor: int) -> None:
    server, client = region.Region(LAYOUT, descriptor), region.attach(LAYOUT, descriptor)
    client.observations[2:4] = np.arange(28).reshape(2, 7, 2)
    np.testing.assert_array_equal(server.observations[2:4].ravel(), np.arange(28))
    server.values[4] = [1.5, -2.0, 0.25]
    np.testing.assert_array_equal(client.values, [[0] * 3] * 4 + [[1.5, -2.0, 0.25]])


def test_rows_of_a_query_are_contiguous(descriptor: int) -> None:
    memory = region.Region(LAYOUT, descriptor)
    assert memory.observations[1:4].flags.c_contiguous
    assert memory.values[1:4].flags.c_contiguous


@pytest.mark.parametrize("size", [0, LAYOUT.total_bytes - 1, LAYOUT.total_bytes + 1])
def test_neither_side_can_change_the_size(descriptor: int, size: int) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, size)


def test_memory_smaller_than_its_layout_is_refused(descriptor: int) -> None:
    larger = Layout(rows=6, num_actions=3, observation_shape=(7, 2), observation_dtype="uint8")
    with pytest.raises(ValueError, match=f"{LAYOUT.total_bytes} bytes of shared memory"):
        region.attach(larger, descriptor)


def test_memory_that_could_shrink_is_refused() -> None:
    descriptor = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, LAYOUT.total_bytes)
        with pytest.raises(ValueError, match="must be sealed"):
            region.attach(LAYOUT, descriptor)
    finally:
        os.close(descriptor)


def test_the_mapping_goes_with_the_last_array_on_it(descriptor: int) -> None:
    before = mappings()
    memory: region.Region | None = region.Region(LAYOUT, descriptor)
    assert memory is not None
    rows = memory.observations[1:2]
    memory = None
    assert mappings() == before + 1
    del rows
    assert mappings() == before


def test_the_host_knows_itself_and_no_nameless_one() -> None:
    assert host.is_this_host(host.host_id())
    assert not host.is_this_host("")
    assert not host.is_this_host("another")


def test_the_socket_directory_is_this_users_alone(tmp_path: Path) -> None:
    directory = SocketDirectory(tmp_path)
    assert directory.path.parent == tmp_path
    assert directory.path.stat().st_mode & 0o777 == 0o700
    directory.close()
    assert not any(tmp_path.iterdir())


def test_the_socket_directory_of_a_killed_server_is_removed_by_the_next(tmp_path: Path) -> None:
    in_use = SocketDirectory(tmp_path)
    program = (
        "import os, signal, sys; from pathlib import Path;"
        "from services.teacher.same_host.socket_directory import SocketDirectory;"
        "made = SocketDirectory(Path(sys.argv[1])); import socket;"
        "socket.socket(socket.AF_UNIX).bind(str(made.path / 'teacher.sock'));"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    (tmp_path / "rrl-sockets-of-nobody").symlink_to("/")
    others = tmp_path / "rrl-sockets-and-what-else"
    others.mkdir()
    (others / "thesis.txt").touch()
    assert len([*tmp_path.glob("rrl-sockets-*/teacher.sock")]) == 1
    third = SocketDirectory(tmp_path)
    left = {path for path in tmp_path.iterdir() if not path.is_symlink()}
    assert left == {in_use.path, third.path, others}
    in_use.close()
    third.close()
