"""Atomic, durable file writes: a file is complete or absent, even after a crash or a power loss.

A file gets its name only once its content is on disk, because a power loss can keep a name and lose
the content.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, content: str | bytes) -> None:
    """Write or replace a file; it is on disk when this returns.

    Raises:
        OSError: no space, no permission or no such folder; an existing file stays.
    """
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that replaces `path` at the end, unless there was an error.

    Raises:
        OSError: as `write_whole`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    flush(path.parent)


def rename_whole(temporary: Path, path: Path) -> None:
    """Rename a folder once its content is on disk; the name is on disk on return.

    Raises:
        OSError: no space, or `path` exists and is not an empty folder.
    """
    flush(temporary, *temporary.rglob("*"))
    temporary.rename(path)
    flush(path.parent)


def make_folders(folder: Path) -> None:
    """Create a folder and missing parents; all are on disk when this returns.

    Raises:
        OSError: no permission, or a file has the name.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    flush(*(one.parent for one in missing))


def flush(*paths: Path) -> None:
    """Flush the content of files, and the names in folders, to disk.

    Raises:
        OSError: no space, or a path does not exist.
    """
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
