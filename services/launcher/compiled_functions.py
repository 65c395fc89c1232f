"""JAX's cache of compiled functions, shared by the roles of all runs on this machine.

The folder holds native code: only the user may write to it, and each kind of processor has its own.
The oldest files are removed first (JAX itself bounds a cache only with locks, which roles would
wait for). Files that a killed process or a full disk left incomplete are removed, because JAX
neither reads nor replaces them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import zlib
from pathlib import Path

from services.library.places import compiled_directory

MOST_BYTES = 512 * 2**20
"""Size limit of one folder; the functions of a run take a few MB."""

_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_CHECKED, _CHECKING = ".checked", ".checking"
"""Marker files whose times say which other files are unchecked."""

_CPU_INFO = Path("/proc/cpuinfo")


def compiled_functions_folder() -> Path | None:
    """The folder for this machine's processor, created if missing.

    None if it cannot be created or others can write to it; nothing is cached then.
    """
    folder = compiled_directory() / _processor()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return None
    is_own = status.st_uid == os.getuid() and not status.st_mode & 0o022
    return folder if is_own and os.access(folder, os.W_OK) else None


def keep_compiled_functions() -> None:
    """Have JAX cache what this process compiles, and use what others have compiled.

    A folder in JAX_COMPILATION_CACHE_DIR takes precedence.
    """
    import jax

    folder = compiled_functions_folder()
    if folder is None or os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    for name, value in {
        "jax_compilation_cache_dir": str(folder),
        # The many small functions together take as long as the large ones.
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": 0,
    }.items():
        jax.config.update(name, value)  # type: ignore[no-untyped-call]


def tidy_compiled_functions() -> None:
    """Remove damaged and surplus files from the folder; a launcher does so before a run."""
    folder = compiled_functions_folder()
    if folder is None:
        return
    with contextlib.suppress(OSError):
        drop_damaged(folder)
        make_room(folder)


def drop_damaged(folder: Path) -> None:
    """Remove JAX's incomplete files among those written since the last call.

    This may remove a file that another process is still writing; the next process that compiles the
    function writes it again.

    Raises:
        OSError: no permission, or no space.
    """
    checked, checking = folder / _CHECKED, folder / _CHECKING
    since = checked.stat().st_mtime if checked.exists() else 0.0
    checking.touch()
    for path in folder.glob("*-cache"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime >= since and not _is_whole(path.read_bytes()):
                path.unlink()
    with contextlib.suppress(FileNotFoundError):
        # Another process checking at the same time has moved it.
        checking.replace(checked)


def _is_whole(compressed: bytes) -> bool:
    """Whether JAX can decompress a file; zlib files end in a checksum."""
    if compressed.startswith(_ZSTANDARD):
        # JAX uses this optional library if the user has installed it.
        return True
    try:
        zlib.decompress(compressed)
    except zlib.error:
        return False
    return True


def make_room(folder: Path, most_bytes: int = MOST_BYTES) -> None:
    """Remove the oldest files beyond a total size; safe if other processes do the same."""
    files = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    size = sum(size for _, size, _ in files)
    for _, bytes_, path in sorted(files):
        if size <= most_bytes:
            return
        with contextlib.suppress(OSError):
            path.unlink()
        size -= bytes_


def _processor() -> str:
    """Identifies the processor that code is compiled for: machines may share a home folder."""
    found = ""
    with contextlib.suppress(OSError):
        text = _CPU_INFO.read_text(errors="replace")
        first = re.search(r"^(?:flags|Features)\s*:.*$", text, re.MULTILINE)
        model = re.search(r"^model name\s*:.*$", text, re.MULTILINE)
        found = "\n".join(match[0] for match in (model, first) if match is not None)
    return hashlib.sha256(f"{platform.machine()}\n{found}".encode()).hexdigest()[:16]
