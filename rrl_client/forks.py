"""What must not cross a fork: gRPC's threads stay behind, and sockets and shared memory are shared.

A child that spoke through its parent's connections would take the parent's answers and give it its
own; one that made connections of its own would wait for threads that do not exist.
"""

from __future__ import annotations

import os

# gRPC reads it once, when it is first used. Its own handling of forks gives up wherever a thread
# waits in gRPC, as that of an event loop does, and then crashes the child, whatever that does.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

_connected_in: int | None = None


class Forked(RuntimeError):
    """This process was forked from one that has connections."""


def note_connection() -> None:
    """Remember that this process has connections.

    Raises:
        Forked: it was forked from one that has.
    """
    global _connected_in
    check_not_forked()
    _connected_in = os.getpid()


def check_not_forked() -> None:
    """See that this process was not forked from one that has connections.

    Raises:
        Forked: it was.
    """
    if is_forked():
        raise Forked(
            "this process was forked from one that is connected to a service; start processes with "
            'the method "spawn" or "forkserver" of multiprocessing, or connect after the fork only'
        )


def is_connected() -> bool:
    """Whether this process has connections: a copy of it could have none."""
    return _connected_in == os.getpid()


def is_forked() -> bool:
    """Whether this process was forked from one that has connections."""
    return _connected_in is not None and _connected_in != os.getpid()
