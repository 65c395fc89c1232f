"""Reads untrusted files: only regular ones, and only up to a size."""

from __future__ import annotations

import stat
from pathlib import Path


def read_bounded(path: Path, max_bytes: int, *, what: str) -> bytes:
    """Read a whole regular file that is not too large.

    Args:
        path: The file; pipes and devices, which might never end, are refused.
        max_bytes: Most bytes it may have.
        what: The expected content, for the error, e.g. "a teacher's card".

    Returns:
        Its content.

    Raises:
        ValueError: It is missing, not a regular file, too large or unreadable; the message begins
            with the path.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path}: no regular file; give the file of {what}")
        if status.st_size > max_bytes:
            raise ValueError(
                f"{path}: {status.st_size} bytes, more than the {max_bytes} that {what} may have"
            )
        with path.open("rb") as file:
            # Read by its size, because reading "up to the bound" would allocate the bound.
            return file.read(status.st_size)
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); check that {what} is there"
        ) from error
