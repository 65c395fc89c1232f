"""A small file system of a run's own, so that it can be full, or answer late."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

_FROZEN_SECONDS = 1.0
_OPEN_SECONDS = 0.1


@contextlib.contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path | None]:
    """Mount an empty ext4 file system on a folder, which takes root and a loop device.

    Yields:
        The folder; None where it cannot be had.
    """
    programs = ("mount", "umount", "mkfs.ext4", "fsfreeze")
    if os.geteuid() != 0 or not all(map(shutil.which, programs)):
        yield None
        return
    folder.mkdir(parents=True, exist_ok=True)
    image = folder.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(mebibytes * 2**20)
    # Nothing of it is reserved for root, as which the roles run.
    made = _run("mkfs.ext4", "-q", "-m", "0", str(image))
    mounted = made and _run("mount", "-o", "loop", str(image), str(folder))
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            # Lazily: a look at a file may be under way.
            _run("umount", "-l", str(folder))
        image.unlink()


def slow_down(disk: Path, seconds: float) -> None:
    """Have a disk take writes a tenth of the time only, for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        frozen = _run("fsfreeze", "--freeze", str(disk))
        try:
            time.sleep(_FROZEN_SECONDS)
        finally:
            if frozen:
                _run("fsfreeze", "--unfreeze", str(disk))
        time.sleep(_OPEN_SECONDS)


def _run(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
