"""A suite's folder, and whose it is.

    OUT/suite.toml              the suite, as it was given
    OUT/runs/ENTRY/GAME/seedK/  the students' runs
    OUT/teacher_runs/GAME/      the runs of teachers that the suite trains
    OUT/teachers/GAME/          these teachers, exported
    OUT/results/                raw scores
    OUT/report/                 figures and page
    OUT/logs/                   what the workers printed
    OUT/.cache/                 compiled programs

A suite may grow: entries, games and seeds can be added. What has runs already stays as it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

from rrl_agents.durable_files import write_whole
from services.bench.suite import Suite, read_suite
from services.shared.errors import UserError

LOCK = ".bench.lock"
"""Held by the process that carries out the suite's runs."""


class BenchFolder:
    """Places in a suite's folder.

    Attributes:
        path: The folder; absolute.
        suite: The suite's text.
        runs: The students' runs.
        teacher_runs: The runs of teachers that the suite trains.
        teachers: These teachers, exported.
        results: Raw scores.
        report: Figures and page.
        logs: What the workers printed.
        cache: Compiled programs.
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
        self.cache = path / ".cache"

    def run(self, entry: str, game: str, seed: int) -> Path:
        """A student's run."""
        return self.runs / entry / game / f"seed{seed}"


def make_folder(folder: BenchFolder) -> None:
    """Make a suite's folder where there is none.

    Raises:
        UserError: something else is there, or it cannot be written.
    """
    with _for_the_user(folder):
        if not folder.suite.exists() and folder.path.exists() and not _is_empty(folder.path):
            raise UserError(
                f"{folder.path} exists and is not a suite's folder: choose another --out"
            )
        folder.path.mkdir(parents=True, exist_ok=True)
        (folder.path / LOCK).touch()


def open_folder(folder: BenchFolder, suite: Suite, text: str) -> None:
    """Check that a folder is this suite's, and keep the suite as it is now in it.

    Args:
        folder: Where; one process at a time.
        suite: The suite.
        text: What it was read from.

    Raises:
        UserError: the folder holds runs that the suite as it is now would not make; or it cannot be
            written.
    """
    with _for_the_user(folder):
        if folder.suite.exists():
            _check_grown(folder, read_suite(folder.suite)[0], suite)
        write_whole(folder.suite, text)


def drop_replay(run: Path) -> None:
    """Delete a finished run's replay and nothing else; its student can still be exported.

    Args:
        run: The run's folder.
    """
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(run / "replay")


def _is_empty(path: Path) -> bool:
    """Whether a folder holds nothing but the lock."""
    return path.is_dir() and all(inner.name == LOCK for inner in path.iterdir())


@contextlib.contextmanager
def _for_the_user(folder: BenchFolder) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{folder.path} cannot be used ({error.strerror or error}): choose another --out"
        ) from error


def _check_grown(folder: BenchFolder, before: Suite, now: Suite) -> None:
    for what, place in _changed(folder, before, now):
        if place.exists():
            raise UserError(
                f"{place} was made with another suite: {what} has changed since. Entries, games "
                "and seeds may be added; for anything else choose another --out or another name, "
                "or delete that folder"
            )


def _changed(folder: BenchFolder, before: Suite, now: Suite) -> Iterator[tuple[str, Path]]:
    """What differs between two suites, and the folder that must not be there then."""
    whats = [
        what
        for what in ("name", "environment", "settings", "teacher")
        if getattr(before, what) != getattr(now, what)
    ]
    for what in whats:
        for place in (folder.runs, folder.teacher_runs, folder.teachers):
            yield what, place
    for name, entry in before.entries.items():
        same = now.entries.get(name)
        if same is None or dataclasses.replace(same, label=entry.label) != entry:
            yield f"[entries.{name}]", folder.runs / name
        for game in set(before.games) - set(now.games):
            yield "games", folder.runs / name / game
        for game in before.games:
            for seed in set(before.seeds) - set(now.seeds):
                yield "seeds", folder.run(name, game, seed)
