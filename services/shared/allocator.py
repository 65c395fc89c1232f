"""Settings of the C library's allocator for processes that handle large messages.

glibc returns large freed blocks to the kernel at once, so every message of 0.9 MB must be paged in
again, zeroed page by page. Measured with a gRPC server on 2 cores, keeping the blocks saves 20 % of
the CPU time per message of 0.9 MB (8 in flight), and 40 % at 3.6 MB (4 in flight).
"""

from __future__ import annotations

import ctypes
import os
import threading
import time

KEPT_BYTES = 256 * 2**20
"""Freed memory beyond this is returned to the kernel."""

CHECK_SECONDS = 10.0
"""Time between checks of the freed memory."""

# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

# The largest value glibc accepts on 64 bits (HEAP_MAX_SIZE / 2).
_LARGEST_MMAP_THRESHOLD = 32 * 2**20

# One heap, because each thread's heap would keep as much. With a gRPC server on 2 cores it is no
# slower than several: small blocks come from a cache per thread.
_SETTINGS = (
    (_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD),
    (_M_TRIM_THRESHOLD, KEPT_BYTES),
    (_M_ARENA_MAX, 1),
)

_LOCK = threading.Lock()
_bounding: threading.Thread | None = None


class _MallocInfo(ctypes.Structure):
    """`struct mallinfo2` of glibc, see mallinfo2(3); `fordblks` is the free bytes of all heaps."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def keep_large_buffers(*, check_seconds: float = CHECK_SECONDS) -> bool:
    """Reuse freed blocks of up to 32 MB instead of giving them back to the kernel.

    Call it first in a process, before threads have their own heaps; further calls are harmless. The
    process keeps up to `KEPT_BYTES` of freed memory. A daemon thread enforces this limit, because
    glibc returns nothing below a block that is still in use. Does nothing unless the C library is
    glibc 2.33 or later, or if the environment configures the allocator (MALLOC_...,
    GLIBC_TUNABLES).

    Args:
        check_seconds: Seconds between checks of the freed memory, above 0.

    Returns:
        Whether freed blocks are now reused.
    """
    library = _glibc()
    if library is None or _is_set_by_environment():
        return False
    if not all([library.mallopt(parameter, value) == 1 for parameter, value in _SETTINGS]):
        return False
    _start_bounding(library, check_seconds)
    return True


def _start_bounding(library: ctypes.CDLL, check_seconds: float) -> None:
    """One thread per process, however many services are in it; a forked child needs its own."""
    global _bounding
    with _LOCK:
        if _bounding is not None and _bounding.is_alive():
            return
        _bounding = threading.Thread(
            target=_bound_free_memory, args=(library, check_seconds), name="allocator", daemon=True
        )
        _bounding.start()


def _bound_free_memory(library: ctypes.CDLL, check_seconds: float) -> None:
    while True:
        time.sleep(check_seconds)
        if library.mallinfo2().fordblks > KEPT_BYTES:
            library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library; None if it lacks a function used here."""
    library = ctypes.CDLL(None)
    try:
        library.mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
        library.mallinfo2.restype = _MallocInfo
        library.malloc_trim.argtypes = (ctypes.c_size_t,)
    except AttributeError:
        return None
    return library


def _is_set_by_environment() -> bool:
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return "glibc.malloc" in tunables or any(name.startswith("MALLOC_") for name in os.environ)
