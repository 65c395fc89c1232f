"""Memory that a client shares with a teacher on the same host: observations lie there once.

    client: creates the file, lays observations into free rows, says on its stream where they begin
    server: maps the file read-only, copies a query's rows into a batch

The file is anonymous and sealed against change of size, so that neither side can pull pages away
under the other (an access beyond the end of a file is a SIGBUS). It exists as long as somebody has
it open or mapped: there is no name to clean up after a crash. Answers travel in messages.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import secrets
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_client.row_major import copy_row_major

if sys.platform != "win32":
    import fcntl

NAME = "rrl-observations"
"""How the file's name begins, as /proc shows it after "/memfd:"."""

PROOF_BYTES = 32
"""The end of the file: random bytes that only those who can read it know."""

# Linux's numbers: Pythons built against an old C library lack the names, not the ability.
_MFD_CLOEXEC = 0x1
_MFD_ALLOW_SEALING = 0x2
_F_ADD_SEALS = 1033
_F_GET_SEALS = 1034
_SIZE_SEALS = 0x1 | 0x2 | 0x4
"""Sealed: the seals themselves, shrinking, growing."""

_MOST_BYTES = 256 * 2**20 - PROOF_BYTES
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@functools.cache
def host_id() -> str:
    """Identity of this host and boot; empty, which matches nothing, where it is unknown.

    Containers on one kernel have it in common; those that do not see each other's processes cannot
    share memory all the same, and the server declines.
    """
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def is_sealed(descriptor: int) -> bool:
    """Whether a file's size can't change any more.

    Raises:
        OSError: The file has no seals.
    """
    return fcntl.fcntl(descriptor, _F_GET_SEALS) & _SIZE_SEALS == _SIZE_SEALS


class SharedRows:
    """Rows of observations in shared memory, of one size; not safe for threads.

    Attributes:
        descriptor: Of the file.
        size_bytes: Its size.
        proof: Its last bytes.
    """

    def __init__(self, row_bytes: int, rows: int) -> None:
        """Create the file.

        Args:
            row_bytes: Bytes of one observation, at least 1.
            rows: Most observations; fewer where they would be more than 256 MiB.

        Raises:
            OSError: The system has none to give, or a row is larger than what may be shared.
        """
        rows = min(rows, _MOST_BYTES // row_bytes)
        if rows < 1:
            raise OSError(f"an observation of {row_bytes} bytes is too large to share")
        self.row_bytes = row_bytes
        self.proof = secrets.token_bytes(PROOF_BYTES)
        self.size_bytes = rows * row_bytes + PROOF_BYTES
        self.descriptor = _create(self.size_bytes)
        self._bytes = np.frombuffer(mmap.mmap(self.descriptor, self.size_bytes), np.uint8)
        self._bytes[-PROOF_BYTES:] = np.frombuffer(self.proof, np.uint8)
        self._all = self._free = (1 << rows) - 1

    def put(self, observations: NDArray[Any]) -> int | None:
        """Lay observations into free rows.

        Args:
            observations: [B, ...], in the byte order of this machine.

        Returns:
            The byte where they begin; None where they don't fit now, or at all.
        """
        rows = len(observations)
        if observations.nbytes != rows * self.row_bytes:
            return None
        first = self._take(rows)
        if first is None:
            return None
        offset = first * self.row_bytes
        taken = self._bytes[offset : offset + observations.nbytes]
        copy_row_major(
            observations, into=taken.view(observations.dtype).reshape(observations.shape)
        )
        return offset

    def give_back(self, offset: int, rows: int) -> None:
        """Free the rows that a `put` took."""
        self._free |= ((1 << rows) - 1) << (offset // self.row_bytes)

    def reset(self) -> None:
        """Free all rows: their reader is gone."""
        self._free = self._all

    def close(self) -> None:
        """Close the file; the memory stays as long as somebody maps it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _take(self, rows: int) -> int | None:
        """The lowest of `rows` adjacent free rows, taken now: so few pages are in use."""
        # The free rows are the set bits. Bit i of `starts`: rows i to i + covered - 1 are free.
        starts, covered = self._free, 1
        while covered < rows:
            step = min(covered, rows - covered)
            starts &= starts >> step
            covered += step
        if not starts:
            return None
        first = (starts & -starts).bit_length() - 1
        self._free ^= ((1 << rows) - 1) << first
        return first


def _create(size_bytes: int) -> int:
    """An anonymous file of a size, zeroed and sealed; gives its descriptor."""
    if sys.platform != "linux":
        raise OSError("memory is shared on Linux only")
    descriptor = _memory_file()
    try:
        os.ftruncate(descriptor, size_bytes)
        fcntl.fcntl(descriptor, _F_ADD_SEALS, _SIZE_SEALS)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _memory_file() -> int:
    flags = _MFD_CLOEXEC | _MFD_ALLOW_SEALING
    if hasattr(os, "memfd_create"):
        return os.memfd_create(NAME, flags)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.memfd_create(NAME.encode(), flags)
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return descriptor
