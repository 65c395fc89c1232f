"""A wall clock for child processes that a test can turn back; needs Debian's package faketime."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class WallClock:
    """What the wall clock of processes started with `environment` is ahead of the real one.

    Args:
        file: Made; the processes read it.
    """

    def __init__(self, file: Path) -> None:
        if not _LIBRARIES:
            pytest.skip("missing program: libfaketime (Debian's package faketime)")
        self._file = file
        self.turn("+0")
        self.environment = os.environ | {
            "LD_PRELOAD": str(_LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            # Only the wall clock goes back; no system's monotonic clock does.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def turn(self, offset: str) -> None:
        """Set it, e.g. "-2h"."""
        new = self._file.with_suffix(".new")
        new.write_text(offset)
        new.replace(self._file)
