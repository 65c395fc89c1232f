"""Files that are whole or absent, whatever the moment at which the process or the power goes.

What is written gets its name only once its content is on disk, since a power loss can keep a name
and lose what was to be under it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, in the place of one of that name; it is on disk when this returns.

    Raises:
        OSError: no space, no permission, no such folder; what was there stays.
    """
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` at the end, if all went well.

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
    """Give a folder its name once all that is in it is on disk; so is the name on return.

    Raises:
        OSError: no space after all, or `path` is there and not an empty folder.
    """
    flush(temporary, *temporary.rglob("*"))
    temporary.rename(path)
    flush(path.parent)


def make_folders(folder: Path) -> None:
    """Make a folder and those above it where they are missing, all on disk when this returns.

    Raises:
        OSError: no permission, or a file has the name.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    flush(*(one.parent for one in missing))


def flush(*paths: Path) -> None:
    """Have the system write out the content of files, and the names in folders.

    Raises:
        OSError: no space after all, or one is not there.
    """
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
