"""Detects forks of a process with connections, which do not survive a fork.

Sockets and shared memory are shared with the child: if it used its parent's connections, each would
receive the other's answers. gRPC's threads are not copied: if the child made its own connections,
it would wait for threads that do not exist.
"""

from __future__ import annotations

import os

# gRPC reads this once, at its first use. gRPC's own handling of forks fails if a thread waits in
# gRPC, as an event loop's does, and then crashes the child whatever it does.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

_connected_in: int | None = None


class Forked(RuntimeError):
    """This process was forked from one that has connections."""


def note_connection() -> None:
    """Note that this process has connections.

    Raises:
        Forked: it was forked from a process that has connections.
    """
    global _connected_in
    check_not_forked()
    _connected_in = os.getpid()


def check_not_forked() -> None:
    """Check that this process was not forked from one that has connections.

    Raises:
        Forked: it was.
    """
    if is_forked():
        raise Forked(
            "this process was forked from one that is connected to a service; start processes with "
            'the method "spawn" or "forkserver" of multiprocessing, or connect after the fork only'
        )


def is_connected() -> bool:
    """Whether this process has connections, so that a fork of it could not connect."""
    return _connected_in == os.getpid()


def is_forked() -> bool:
    """Whether this process was forked from one that has connections."""
    return _connected_in is not None and _connected_in != os.getpid()
