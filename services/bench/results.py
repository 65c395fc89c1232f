"""Raw scores of a suite, in tables for further analysis.

    results/evaluations.csv       a row per evaluation of a student
    results/references.csv        a row per game: the random policy and the teacher
    results/judged_episodes.csv   a row per metric and episode of final weights, if the environment
                                  has metrics besides the return
    results/sessions.csv          a row per command, code version and hardware of the runs

Returns are undiscounted sums of raw rewards. Frames are environment frames; `frames` are those of
online play (including the teacher's in JSRL), computed from the updates, so that runs line up
exactly: replay keeps the ratio between the two. Rows are frozen dataclasses whose fields are the
columns. Numbers are written exactly, so that they read back equal; None is an empty cell.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar, get_type_hints

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.durable_files import make_folders, write_whole
from rrl_agents.typed_json import decode
from services.shared.errors import user_errors

EVALUATIONS, REFERENCES, EPISODES = "evaluations.csv", "references.csv", "judged_episodes.csv"
SESSIONS = "sessions.csv"

TEACHER = "teacher"
"""Entry name of the teacher's episodes; no real entry has this name."""

MAX_FILE_BYTES = 256 * 2**20
"""Larger tables are refused; 10,000 runs take some tens of megabytes."""

_CONSTANTS = {"": None, "True": True, "False": False}

RowT = TypeVar("RowT")


@dataclasses.dataclass(frozen=True)
class EvaluationRow:
    """One evaluation of a student.

    Attributes:
        entry: Name of the suite's entry.
        method: Name of the method.
        student: Name of the student.
        game: Name of the game.
        seed: Number of the repetition.
        frames: Environment frames of online play before these weights, nominal.
        teacher_frames: Environment frames of the teacher's play in its table.
        offline_updates: Gradient steps of the weights on the teacher's data.
        online_updates: Gradient steps of the weights in the online stage.
        mean_return: Mean return over the episodes.
        episodes: Number of episodes.
        epsilon: Exploration rate in the evaluation.
        sticky_actions: Probability that the environment repeated the last action.
        max_episode_steps: Decisions after which an episode was cut off.
        final: Whether these are the run's last weights.
    """

    entry: str
    method: str
    student: str
    game: str
    seed: int
    frames: int
    teacher_frames: int
    offline_updates: int
    online_updates: int
    mean_return: float
    episodes: int
    epsilon: float
    sticky_actions: float
    max_episode_steps: int
    final: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReferenceRow:
    """The scale of a game's scores: 0 is the random policy, 1 the teacher.

    Attributes:
        game: Name of the game.
        random_return: Mean return of the uniformly random policy.
        random_source: Origin of that number.
        teacher: Name of the teacher.
        teacher_return: Mean return of the teacher.
        teacher_low: Lower end of the 95% interval of that mean; None if unknown.
        teacher_high: Upper end; None if unknown.
        teacher_episodes: Number of episodes of that mean; None if unknown.
        teacher_epsilon: Exploration rate in these episodes; None if unknown.
        teacher_sticky_actions: Probability that the environment repeated the last action; None if
            unknown.
        teacher_max_episode_steps: Decisions after which an episode was cut off; None if unknown.
        teacher_source: Origin of the teacher's score.
        teacher_frames: Environment frames that the teacher was trained on; None if unknown.
        teacher_updates: Gradient steps of the teacher; None if unknown.
    """

    game: str
    random_return: float
    random_source: str
    teacher: str
    teacher_return: float
    teacher_low: float | None = None
    teacher_high: float | None = None
    teacher_episodes: int | None = None
    teacher_epsilon: float | None = None
    teacher_sticky_actions: float | None = None
    teacher_max_episode_steps: int | None = None
    teacher_source: str
    teacher_frames: int | None = None
    teacher_updates: int | None = None


@dataclasses.dataclass(frozen=True)
class EpisodeRow:
    """A metric of one episode.

    Attributes:
        entry: Name of the suite's entry; `TEACHER` for the teacher, which has rows only if all
            evaluations of the game play the same episodes, with fixed seeds and one protocol.
        game: Name of the game.
        seed: Number of the repetition.
        metric: Name of a metric of the environment, or "return".
        episode: Number of the episode in its evaluation, from 0; with fixed seeds, the same number
            is the same episode in all evaluations.
        value: The metric's mean over the episode's steps; the return.
    """

    entry: str
    game: str
    seed: int
    metric: str
    episode: int
    value: float


@dataclasses.dataclass(frozen=True)
class SessionRow:
    """How some of the runs were made.

    Attributes:
        command: The command line that started or resumed them.
        code: Versions of this package, of Python and of the libraries.
        hardware: CPU, cores, memory and GPUs.
        runs: Number of these runs, of students and teachers.
    """

    command: str
    code: str
    hardware: str
    runs: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """The tables.

    Attributes:
        evaluations: Evaluations by run, in the order of the suite, and within a run by time.
        references: One row per game.
        episodes: Episodes of final weights, and of the teacher.
        sessions: How the runs were made; empty if that was not recorded.
    """

    evaluations: tuple[EvaluationRow, ...]
    references: tuple[ReferenceRow, ...]
    episodes: tuple[EpisodeRow, ...] = ()
    sessions: tuple[SessionRow, ...] = ()


def write_results(folder: Path, results: Results) -> None:
    """Write the tables into a folder, created if missing; each atomically."""
    write_rows(folder / EVALUATIONS, EvaluationRow, results.evaluations)
    write_rows(folder / REFERENCES, ReferenceRow, results.references)
    _write_if_any(folder / EPISODES, EpisodeRow, results.episodes)
    _write_if_any(folder / SESSIONS, SessionRow, results.sessions)


def read_results(folder: Path) -> Results:
    """Read the tables.

    Raises:
        UserError: one is missing or damaged.
    """
    return Results(
        evaluations=read_rows(folder / EVALUATIONS, EvaluationRow),
        references=read_rows(folder / REFERENCES, ReferenceRow),
        episodes=_read_if_there(folder / EPISODES, EpisodeRow),
        sessions=_read_if_there(folder / SESSIONS, SessionRow),
    )


def _write_if_any(path: Path, kind: type[RowT], rows: Sequence[RowT]) -> None:
    if rows:
        write_rows(path, kind, rows)
    else:
        path.unlink(missing_ok=True)


def _read_if_there(path: Path, kind: type[RowT]) -> tuple[RowT, ...]:
    return read_rows(path, kind) if path.exists() else ()


def write_rows(path: Path, kind: type[RowT], rows: Iterable[RowT]) -> None:
    """Write a table atomically.

    Args:
        path: The file; its folder is created.
        kind: Class of the rows: its fields are the columns.
        rows: The rows, in the order of the file.
    """
    names = [*get_type_hints(kind)]
    text = io.StringIO()
    # csv writes None as an empty cell, and a float as the shortest exact text.
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([names, *([getattr(row, name) for name in names] for row in rows)])
    make_folders(path.parent)
    write_whole(path, text.getvalue())


def read_rows(path: Path, kind: type[RowT]) -> tuple[RowT, ...]:
    """Read a table.

    Args:
        path: The file.
        kind: Class of the rows; fields are text, integers, finite floats, booleans, or None.

    Raises:
        UserError: it is missing or too large, its columns differ, or a cell has an invalid value.
    """
    types = get_type_hints(kind)
    with user_errors((ValueError, csv.Error), prefix=f"{path} cannot be read; restore it: "):
        content = read_bounded(path, MAX_FILE_BYTES, what="a table of results")
        text = io.StringIO(content.decode("utf-8"), newline="")
        lines = csv.reader(text, strict=True)
        if (header := next(lines, [])) != [*types]:
            raise ValueError(f"its columns are {header}, not {[*types]}")
        rows = []
        for number, cells in enumerate(lines, start=2):
            if len(cells) != len(types):
                raise ValueError(f"line {number} has {len(cells)} cells, not {len(types)}")
            pairs = zip(types, cells, strict=True)
            row = {name: cell if types[name] is str else _value(cell) for name, cell in pairs}
            rows.append(decode(kind, row, f"line {number}"))
        return tuple(rows)


def _value(cell: str) -> object:
    """The number, boolean or None in a cell; returns other text, which `decode` then refuses."""
    if cell in _CONSTANTS:
        return _CONSTANTS[cell]
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell
