"""The memory a client and the server share: observations one way, action values the other.

The server makes it, as an anonymous file sealed against change of size, so that neither side can
pull pages away under the other (an access beyond the end of a file is a SIGBUS). It is mapped by
both and lives until the last array on it is gone: there is no name to clean up after a crash.

Rows lie packed one after the other, so the rows of a query are one contiguous array on both sides.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import socket
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.teacher.same_host.wire import Layout

if sys.platform != "win32":
    # Clients import this everywhere, to ask whether it is available.
    import fcntl

# Linux's numbers: Pythons built against an old C library lack the names, not the ability.
_MFD_CLOEXEC = 0x1
_MFD_ALLOW_SEALING = 0x2
_F_ADD_SEALS = 1033
_F_GET_SEALS = 1034
_SIZE_SEALS = 0x1 | 0x2 | 0x4
"""Sealed: the seals themselves, shrinking, growing."""


class Region:
    """One mapping of the shared memory.

    Attributes:
        layout: Numbers and shapes.
        observations: [R, *observation_shape].
        values: float32 [R, A].
    """

    def __init__(self, layout: Layout, descriptor: int) -> None:
        """Map it; the descriptor stays the caller's to close.

        Raises:
            OSError: It cannot be mapped.
        """
        memory = mmap.mmap(descriptor, layout.total_bytes)
        self.layout = layout
        self.observations: NDArray[Any] = np.ndarray(
            (layout.rows, *layout.observation_shape), layout.observation_dtype, memory
        )
        self.values: NDArray[np.float32] = np.ndarray(
            (layout.rows, layout.num_actions), np.float32, memory, layout.values_at
        )


def create(layout: Layout) -> int:
    """Make shared memory of a layout's size, zeroed and sealed.

    Returns:
        Its descriptor. Pages cost memory from their first use on.

    Raises:
        OSError: The system has none to give.
    """
    descriptor = _memory_file()
    try:
        os.ftruncate(descriptor, layout.total_bytes)
        fcntl.fcntl(descriptor, _F_ADD_SEALS, _SIZE_SEALS)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def attach(layout: Layout, descriptor: int) -> Region:
    """Map memory that the other side made.

    Raises:
        ValueError: It is smaller than its layout, or might become so.
        OSError: It cannot be mapped.
    """
    size = os.fstat(descriptor).st_size
    if size < layout.total_bytes:
        raise ValueError(f"{size} bytes of shared memory for a layout of {layout.total_bytes}")
    seals = fcntl.fcntl(descriptor, _F_GET_SEALS)
    if seals & _SIZE_SEALS != _SIZE_SEALS:
        raise ValueError(f"the shared memory has seals {seals:#x}; its size must be sealed")
    return Region(layout, descriptor)


@functools.cache
def available() -> bool:
    """Whether this system has what the same-host path needs (Linux's, tried out)."""
    if sys.platform != "linux":
        return False
    try:
        descriptor = create(
            Layout(rows=1, num_actions=1, observation_shape=(1,), observation_dtype="uint8")
        )
        os.close(descriptor)
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).close()
    except (OSError, AttributeError):
        return False
    return True


def _memory_file() -> int:
    name, flags = "rrl-teacher-same-host", _MFD_CLOEXEC | _MFD_ALLOW_SEALING
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, flags)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.memfd_create(name.encode(), flags)
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return descriptor
