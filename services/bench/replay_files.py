"""The replay of a finished run: nothing reads it any more, and it is most of what a run weighs."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from services.learner.checkpointing import REPLAY_FOLDER, commits_folder


def drop_replay(run: Path) -> None:
    """Delete a finished run's replay and nothing else; its student can still be exported.

    Args:
        run: The run's folder.
    """
    for folder in (run / "replay", *commits_folder(run).glob(f"*/{REPLAY_FOLDER}")):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
