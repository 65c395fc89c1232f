"""JAX's cache of compiled functions, which the roles of all runs on this machine share.

The folder holds native code: it belongs to the user alone, and there is one per kind of processor.
What no run has written again for longest makes room (JAX itself bounds a cache by locks only, which
roles would wait for). Files that a killed process or a full disk left incomplete are removed: JAX
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
"""Of one folder; the functions of a run take a few MB."""

_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_CHECKED, _CHECKING = ".checked", ".checking"
"""Files whose times say since when the others have to be checked."""

_CPU_INFO = Path("/proc/cpuinfo")


def compiled_functions_folder() -> Path | None:
    """The folder for this machine's processor, made if it is missing.

    None where it cannot be made, or is not this user's alone: then nothing is kept.
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
    """Have JAX keep what this process compiles, and take what others have compiled.

    Where the user has set JAX_COMPILATION_CACHE_DIR, that folder stays.
    """
    import jax

    folder = compiled_functions_folder()
    if folder is None or os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    for name, value in {
        "jax_compilation_cache_dir": str(folder),
        # Small functions are many: together they take as long as the large ones.
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": 0,
    }.items():
        jax.config.update(name, value)  # type: ignore[no-untyped-call]


def tidy_compiled_functions() -> None:
    """Remove what is damaged or too much from the folder; a launcher does so before a run."""
    folder = compiled_functions_folder()
    if folder is None:
        return
    with contextlib.suppress(OSError):
        drop_damaged(folder)
        make_room(folder)


def drop_damaged(folder: Path) -> None:
    """Remove incomplete files of JAX, of those written since the last call.

    A file that another process is writing at this moment may be among them: it is written again by
    the next process that compiles the function.

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
        # Others that check at the same time have moved it.
        checking.replace(checked)


def _is_whole(compressed: bytes) -> bool:
    """Whether JAX can decompress a file: zlib's end in a checksum."""
    if compressed.startswith(_ZSTANDARD):
        # Where the user has added that library, which need not be here.
        return True
    try:
        zlib.decompress(compressed)
    except zlib.error:
        return False
    return True


def make_room(folder: Path, most_bytes: int = MOST_BYTES) -> None:
    """Remove the oldest files beyond a size in all; others may do so at the same time."""
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
    """A name for what code is compiled for: a home folder may be that of several machines."""
    found = ""
    with contextlib.suppress(OSError):
        text = _CPU_INFO.read_text(errors="replace")
        first = re.search(r"^(?:flags|Features)\s*:.*$", text, re.MULTILINE)
        model = re.search(r"^model name\s*:.*$", text, re.MULTILINE)
        found = "\n".join(match[0] for match in (model, first) if match is not None)
    return hashlib.sha256(f"{platform.machine()}\n{found}".encode()).hexdigest()[:16]
