"""A suite's folder.

    OUT/suite.toml              the suite's file
    OUT/runs/ENTRY/GAME/seedK/  the students' runs
    OUT/teacher_runs/GAME/      runs of teachers that the suite trains
    OUT/teachers/GAME/          these teachers, exported
    OUT/results/                raw scores
    OUT/report/                 figures and page
    OUT/logs/                   output of the workers

A suite may grow: entries, games and seeds can be added. Entries that already have runs must not
change.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from services.shared.errors import UserError, user_errors

LOCK = ".bench.lock"
"""Held by the process that executes the suite's runs."""

REPLAY = "replay"
"""Folder in a run's folder that a finished run does not need: exports work without it."""


class BenchFolder:
    """Paths in a suite's folder.

    Attributes:
        path: The folder; absolute.
        suite: The suite's file.
        runs: The students' runs.
        teacher_runs: The runs of teachers that the suite trains.
        teachers: These teachers, exported.
        results: Raw scores.
        report: Figures and page.
        logs: Output of the workers.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.suite = path / "suite.toml"
        self.runs = path / "runs"
        self.teacher_runs = path / "teacher_runs"
        self.teachers = path / "teachers"
        self.results = path / "results"
        self.report = path / "report"
        self.logs = path / "logs"

    def run(self, entry: str, game: str, seed: int) -> Path:
        """A student's run."""
        return self.runs / entry / game / f"seed{seed}"


def make_folder(folder: BenchFolder) -> None:
    """Create a suite's folder if it does not exist.

    Raises:
        UserError: the folder has other content, or cannot be written.
    """
    path = folder.path
    with user_errors((OSError,), prefix=f"{path} cannot be used; choose another --out: "):
        path.mkdir(parents=True, exist_ok=True)
        if not folder.suite.exists() and {inner.name for inner in path.iterdir()} - {LOCK}:
            raise UserError(f"{path} exists and is not a suite's folder: choose another --out")
        (path / LOCK).touch()


def drop_replay(run: Path) -> None:
    """Delete the replay in a finished run's folder, and nothing else."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(run / REPLAY)
