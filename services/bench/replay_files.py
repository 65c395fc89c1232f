"""The replay of a finished run: nothing reads it any more, and it is most of what a run weighs."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path


def drop_replay(run: Path) -> None:
    """Delete a finished run's replay and nothing else; its student can still be exported.

    Args:
        run: The run's folder.
    """
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(run / "replay")
