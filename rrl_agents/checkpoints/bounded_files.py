"""Reading whole files that come from anywhere: only regular ones, only up to a size."""

from __future__ import annotations

import stat
from pathlib import Path


def read_bounded(path: Path, max_bytes: int, *, what: str) -> bytes:
    """Read a whole file, if it is one and not too large.

    Args:
        path: The file; no pipe and no device, which might never end.
        max_bytes: Most bytes it may have.
        what: What it should be, for the error, e.g. "a teacher's card".

    Returns:
        Its content.

    Raises:
        ValueError: It is missing, no regular file, too large or cannot be read; the message begins
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
            # By its size, as reading "up to the bound" would allocate the bound.
            return file.read(status.st_size)
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); check that {what} is there"
        ) from error
