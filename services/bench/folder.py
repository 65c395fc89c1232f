"""A suite's folder, and whose it is.

    OUT/suite.toml              the suite, as it was given
    OUT/runs/ENTRY/GAME/seedK/  the students' runs
    OUT/teacher_runs/GAME/      the runs of teachers that the suite trains
    OUT/teachers/GAME/          these teachers, exported
    OUT/results/                raw scores
    OUT/report/                 figures and page
    OUT/logs/                   what the workers printed
    OUT/.cache/                 compiled programs
    OUT/.stand_ins/GAME/        stand for teachers until they are there

A suite may grow: entries, games and seeds can be added. What has runs already stays as it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from rrl_agents.durable_files import make_folders, write_whole
from services.bench.suite import Suite, read_suite
from services.shared.errors import UserError

LOCK = ".bench.lock"
"""Held by the process that carries out the suite's runs."""


@dataclasses.dataclass(frozen=True)
class BenchFolder:
    """Places in a suite's folder.

    Attributes:
        path: The folder; absolute.
    """

    path: Path

    @property
    def suite(self) -> Path:
        """The suite's text."""
        return self.path / "suite.toml"

    @property
    def runs(self) -> Path:
        """The students' runs."""
        return self.path / "runs"

    @property
    def results(self) -> Path:
        """Raw scores."""
        return self.path / "results"

    @property
    def report(self) -> Path:
        """Figures and page."""
        return self.path / "report"

    @property
    def logs(self) -> Path:
        """What the workers printed."""
        return self.path / "logs"

    @property
    def cache(self) -> Path:
        """Compiled programs."""
        return self.path / ".cache"

    def run(self, entry: str, game: str, seed: int) -> Path:
        """A student's run."""
        return self.runs / entry / game / f"seed{seed}"

    @property
    def teacher_runs(self) -> Path:
        """The runs of teachers that the suite trains."""
        return self.path / "teacher_runs"

    @property
    def teachers(self) -> Path:
        """These teachers, exported."""
        return self.path / "teachers"

    def teacher_run(self, game: str) -> Path:
        """The run of a teacher that the suite trains."""
        return self.teacher_runs / game

    def teacher(self, game: str) -> Path:
        """That teacher, exported."""
        return self.teachers / game

    def stand_in(self, game: str) -> Path:
        """What stands for that teacher until it is there."""
        return self.path / ".stand_ins" / game


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
        replace_text(folder.suite, text)


def _is_empty(path: Path) -> bool:
    """Whether a folder holds nothing but the lock of whoever is about to fill it."""
    return path.is_dir() and all(inner.name == LOCK for inner in path.iterdir())


@contextlib.contextmanager
def _for_the_user(folder: BenchFolder) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{folder.path} cannot be used ({error.strerror or error}): choose another --out"
        ) from error


def replace_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; its folder is made."""
    make_folders(path.parent)
    write_whole(path, text)


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
        name
        for name in ("name", "environment", "settings")
        if getattr(before, name) != getattr(now, name)
    ]
    if before.teacher != now.teacher:
        whats.append("the teacher")
    for what in whats:
        for place in (folder.runs, folder.teacher_runs, folder.teachers):
            yield what, place
    entries = {entry.name: entry for entry in now.entries}
    for entry in before.entries:
        same = entries.get(entry.name)
        if same is None or dataclasses.replace(same, label=entry.label) != entry:
            yield f"[entries.{entry.name}]", folder.runs / entry.name
        for game in set(before.games) - set(now.games):
            yield "games", folder.runs / entry.name / game
        for game in before.games:
            for seed in set(before.seeds) - set(now.seeds):
                yield "seeds", folder.run(entry.name, game, seed)
