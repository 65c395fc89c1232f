"""Memory that a client shares with a teacher on the same host, to avoid copies of observations.

    client: creates the file, writes observations into free rows, sends their offset on its stream
    server: maps the file read-only, copies a query's rows into a batch

The file is anonymous and its size is sealed, so that neither side can shrink it under the other (an
access beyond the end of a file raises SIGBUS). It exists as long as a process has it open or
mapped; it has no name, so a crash leaves nothing to clean up. Answers are sent in messages.
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
"""The file's name in /proc, after "/memfd:"."""

PROOF_BYTES = 32
"""Length of the random bytes at the end of the file, which prove that a process can read it."""

# Linux's numbers: a Python that was built against an old C library lacks the names.
_MFD_CLOEXEC = 0x1
_MFD_ALLOW_SEALING = 0x2
_F_ADD_SEALS = 1033
_F_GET_SEALS = 1034
_SIZE_SEALS = 0x1 | 0x2 | 0x4
"""Seals of the file: no further seals, no shrinking, no growing."""

_MOST_BYTES = 256 * 2**20 - PROOF_BYTES
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@functools.cache
def host_id() -> str:
    """Identity of this host and boot; empty, which matches no host, if unknown.

    Containers on one kernel have the same identity. If they do not see each other's processes, they
    cannot share memory anyway, and the server declines.
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
    """Rows of observations in shared memory, all of one size; not thread-safe.

    Attributes:
        descriptor: File descriptor.
        size_bytes: Size of the file.
        proof: Last bytes of the file.
    """

    def __init__(self, row_bytes: int, rows: int) -> None:
        """Create the file.

        Args:
            row_bytes: Bytes of one observation, at least 1.
            rows: Number of rows; reduced if they would take more than 256 MiB.

        Raises:
            OSError: The system has no shared memory, or a row is larger than the limit.
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
        """Write observations into free rows.

        Args:
            observations: [B, ...], in the byte order of this machine.

        Returns:
            Their offset in bytes; None if too few rows are free, or the rows have another size.
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
        """Free all rows, since their reader is gone."""
        self._free = self._all

    def close(self) -> None:
        """Close the file; the memory stays as long as a process has it mapped."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _take(self, rows: int) -> int | None:
        """Take the first `rows` adjacent free rows, so that few pages are used; None if none."""
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
    """Create an anonymous file of this size, zeroed and sealed; returns its descriptor."""
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
