from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from services.teacher.front_ends.socket_directory import SocketDirectory


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
        "from services.teacher.front_ends.socket_directory import SocketDirectory;"
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
