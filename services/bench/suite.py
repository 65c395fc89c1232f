"""A suite: which methods are compared, on which games, with which seeds and which teacher.

    name = "minatar"
    environment = "minatar"
    games = ["asterix", "breakout"]     # [] where the environment is one game
    seeds = [0, 1, 2]

    [teacher]                           # either checkpoint = "pong_dqn" ("{game}" is replaced),
    method = "tabula_rasa"              # or a run of its own for each game, before the students'
    student = "minatar_dqn"
    settings = { "online_steps" = 200_000 }

    [settings]                          # of every student's run, by dotted names
    "online_steps" = 40_000

    [entries.qdagger]
    method = "qdagger"
    student = "minatar_dqn"
    label = "QDagger"
    [entries.qdagger.settings]
    "method.distillation.temperature" = 0.02

This module reads the file; what the settings mean is `services.bench.plan`'s to find out.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.typed_json import decode, may_be_missing
from services.launcher.experiment_config import check_seed
from services.shared.errors import UserError, user_errors

T = TypeVar("T")

MAX_FILE_BYTES = 256 * 1024
MAX_RUNS = 10_000
"""Entries x games x seeds of one suite."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
"""Names become folders."""

_OWNED = {
    "seed": "seeds",
    "environment.name": "environment",
    "environment.game": "games",
    "teacher.checkpoint": "[teacher] checkpoint",
}
"""Settings that the suite itself fills in, and where they are said there."""

_SCALE = ("environment.random_return", "teacher.mean_return")
"""Settings that 0 and 1 of a game's scores come from: one number each, of one game."""

_MAX_LABEL = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedTeacher:
    """A teacher that the suite trains first, one per game.

    Attributes:
        method: How, by name.
        student: What it is, by name.
        seed: Of its run.
        settings: Dotted names of settings of its run.
    """

    method: str
    student: str
    seed: int
    settings: Mapping[str, object]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One of the things compared: a method with a student and settings.

    Attributes:
        name: Its key in the suite, and its folder.
        method: Name of the method.
        student: Name of the student; None takes the preset's, or in fine-tuning the teacher's.
        preset: Name of the method's preset to start from; None starts from its defaults.
        label: What tables and figures call it.
        settings: Dotted names of settings, over those of the suite.
    """

    name: str
    method: str
    student: str | None
    preset: str | None
    label: str
    settings: Mapping[str, object]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suite:
    """A comparison.

    Attributes:
        name: Short name.
        title: Heading of its report.
        notes: A paragraph for the report; may be empty.
        environment: Name of the environment.
        games: Its games; the environment's own name where it is one game.
        has_games: Whether `games` are names that the environment knows.
        seeds: Numbers of the repetitions.
        teacher: Name or path of a checkpoint, with "{game}" where the game stands; or how to
            train one.
        settings: Dotted names of settings of every student's run.
        entries: What is compared, in the order of the file.
        keep_replay: Whether finished runs keep their replay, which fills disks.
    """

    name: str
    title: str
    notes: str
    environment: str
    games: tuple[str, ...]
    has_games: bool
    seeds: tuple[int, ...]
    teacher: str | TrainedTeacher
    settings: Mapping[str, object]
    entries: tuple[Entry, ...]
    keep_replay: bool

    def label_of(self, entry: str) -> str:
        """What tables and figures call an entry."""
        return {known.name: known.label for known in self.entries}.get(entry, entry)


def read_suite(path: Path) -> tuple[Suite, str]:
    """Read a suite's file.

    Args:
        path: The file.

    Returns:
        The suite, and the text it was read from.

    Raises:
        UserError: it cannot be read, is no TOML, or something in it is missing, unknown, of
            another type or out of range; the message names it.
    """
    with user_errors():
        content = read_bounded(path, MAX_FILE_BYTES, what="a suite")
    try:
        text = content.decode("utf-8")
        return parse_suite(text), text
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: {error}") from error


def parse_suite(text: str) -> Suite:
    """Read a suite's text.

    Args:
        text: TOML.

    Raises:
        ValueError: as `read_suite`.
    """
    content = tomllib.loads(text)
    file = _read(_SuiteFile, content, "the suite")
    name = _plain(file.name, "name")
    games = tuple(_plain(game, "games") for game in file.games)
    suite = Suite(
        name=name,
        title=file.title or name,
        notes=file.notes,
        environment=file.environment,
        games=games or (_plain(file.environment, "environment"),),
        has_games=bool(games),
        seeds=file.seeds,
        teacher=_teacher(file.teacher),
        settings=_settings(file.settings, "settings"),
        entries=_entries(file.entries),
        keep_replay=file.keep_replay,
    )
    _check_counts(suite)
    _check_scale(suite)
    return suite


@dataclasses.dataclass(frozen=True)
class _SuiteFile:
    """The tables of a suite's file, as TOML nests them."""

    name: str
    environment: str
    games: tuple[str, ...]
    seeds: tuple[int, ...]
    teacher: object
    entries: object
    title: str = may_be_missing("")
    notes: str = may_be_missing("")
    settings: object = may_be_missing({})
    keep_replay: bool = may_be_missing(False)


@dataclasses.dataclass(frozen=True)
class _GivenTeacher:
    checkpoint: str


@dataclasses.dataclass(frozen=True)
class _TrainedTeacher:
    method: str
    student: str
    seed: int = may_be_missing(0)
    settings: object = may_be_missing({})


@dataclasses.dataclass(frozen=True)
class _Entry:
    method: str
    student: str | None = may_be_missing(None)
    preset: str | None = may_be_missing(None)
    label: str | None = may_be_missing(None)
    settings: object = may_be_missing({})


def _read(kind: type[T], value: object, where: str) -> T:
    """A table of the file; none of its names is unknown."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be a table, found {_shown(value)}")
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            raise ValueError(
                f"{where} has no {_shown(key)}; the nearest is {near[0]!r}, known are "
                f"{', '.join(known)}"
            )
    return decode(kind, value, where)


def _teacher(value: object) -> str | TrainedTeacher:
    if isinstance(value, dict) and "checkpoint" in value:
        return _read(_GivenTeacher, value, "[teacher] with a checkpoint").checkpoint
    said = _read(_TrainedTeacher, value, "[teacher] without a checkpoint")
    check_seed(said.seed, "[teacher] seed")
    return TrainedTeacher(
        method=said.method,
        student=said.student,
        seed=said.seed,
        settings=_settings(said.settings, "teacher.settings"),
    )


def _entries(value: object) -> tuple[Entry, ...]:
    if not isinstance(value, dict) or not value:
        raise ValueError("a suite needs entries: write a table [entries.NAME] for each")
    return tuple(_entry(_plain(name, "entries"), content) for name, content in value.items())


def _entry(name: str, value: object) -> Entry:
    said = _read(_Entry, value, f"[entries.{name}]")
    return Entry(
        name=name,
        method=said.method,
        student=said.student,
        preset=said.preset,
        label=_label(name if said.label is None else said.label, f"entries.{name}.label"),
        settings=_settings(said.settings, f"entries.{name}.settings"),
    )


def _settings(value: object, where: str) -> dict[str, object]:
    """Settings by dotted names; tables in tables say the same as dots in names."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be a table, found {_shown(value)}")
    settings: dict[str, object] = {}
    for name, setting in _flat(value, ""):
        if name in _OWNED:
            raise ValueError(
                f"{where} sets {name}, which the suite fills in: say it with {_OWNED[name]}"
            )
        if name in settings:
            raise ValueError(f"{where} sets {name} twice")
        settings[name] = setting
    return settings


def _flat(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _check_counts(suite: Suite) -> None:
    for name, values in (("games", suite.games), ("seeds", suite.seeds)):
        if len(set(values)) != len(values):
            raise ValueError(f"{name} names one twice: {list(values)}")
    if not suite.seeds:
        raise ValueError("seeds is []; give at least one number")
    for seed in suite.seeds:
        check_seed(seed, "one of seeds")
    runs = len(suite.entries) * len(suite.games) * len(suite.seeds)
    if runs > MAX_RUNS:
        raise ValueError(f"the suite has {runs:,} runs; at most {MAX_RUNS:,} are allowed")


def _check_scale(suite: Suite) -> None:
    """All entries are measured on one scale per game."""
    places = {f"[entries.{entry.name}]": entry.settings for entry in suite.entries}
    if isinstance(suite.teacher, TrainedTeacher):
        places["[teacher]"] = suite.teacher.settings
    for where, settings in places.items():
        for name in _SCALE:
            if name in settings:
                raise ValueError(
                    f"{where} sets {name}, by which all runs of a game are measured: say it in "
                    "[settings]"
                )
    for name in _SCALE:
        if name in suite.settings and len(suite.games) > 1:
            raise ValueError(
                f"[settings] sets {name}, one number for {len(suite.games)} games: each has its "
                "own; make a suite of each"
            )


def _label(label: str, where: str) -> str:
    # matplotlib takes '$' for a formula, and leaves what begins with '_' out of legends.
    is_drawn = label.isprintable() and "$" not in label and not label.startswith("_")
    if not is_drawn or not 0 < len(label) <= _MAX_LABEL:
        raise ValueError(
            f"{where} is {_shown(label)}; use 1 to {_MAX_LABEL} printable characters, without '$' "
            "and not beginning with '_'"
        )
    return label


def _plain(name: str, where: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"{where} has {_shown(name)}, which becomes a folder: use 1 to 100 letters, digits, "
            "'_', '.', '+' or '-', beginning with a letter or digit"
        )
    return name


def _shown(value: object) -> str:
    return repr(value)[:80]
