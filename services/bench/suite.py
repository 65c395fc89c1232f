"""A suite file: the methods to compare, the games, the seeds and the teacher.

    name = "minatar"
    environment = "minatar"
    games = ["asterix", "breakout"]     # [] for an environment with one game
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
    # teacher = "ensemble:mean:a,b"     # instead of the suite's own, to compare teachers
    [entries.qdagger.settings]
    "method.distillation.temperature" = 0.02
    [entries.qdagger.sweep]             # an entry for each value; several settings form a grid
    "method.distillation.loss" = ["kl", "best_action"]

This module reads the file; `services.bench.plan` checks methods, students and settings.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.environments.game_names import folder_name
from rrl_agents.typed_json import decode, may_be_missing
from services.bench.results import TEACHER
from services.bench.sweeps import Sweep, grid, point_label, point_name
from services.launcher.experiment_config import check_seed
from services.library.catalogue import check_name
from services.shared.errors import UserError, user_errors

MAX_FILE_BYTES = 256 * 1024
MAX_RUNS = 10_000
"""Entries x games x seeds of one suite."""

# matplotlib reads '$' as a formula, and omits labels that begin with '_' from legends.
_LABEL = re.compile(r"(?!_)[^$\x00-\x1f\x7f-\x9f]{1,100}")
_LABEL_ADVICE = "use 1 to 100 printable characters, without '$' and not beginning with '_'"

_OWNED = {
    "seed": "leave it out: the suite sets it from seeds",
    "environment.name": "leave it out: the suite sets it from environment",
    "environment.game": "leave it out: the suite sets it from games",
    "teacher.address": "leave it out: name teachers in [teacher], or as teacher of an entry",
    "teacher.checkpoint": "give it as checkpoint of [teacher], or as teacher of an entry",
}
"""Settings that the suite itself sets -> what to do instead."""

_SCALE = ("environment.random_return", "teacher.mean_return")
"""Settings that define the scores 0 and 1, each one number for a single game."""

_NO_RUNS_OWN = _OWNED | dict.fromkeys(
    _SCALE, "give it in [settings], as it must be the same for all runs of a game"
)
"""Settings that entries and teachers must not have -> what to do instead."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuiteTeacher:
    """The teacher of each game: one that exists, or one that the suite trains first.

    Attributes:
        checkpoint: Name or path, with "{game}" for the game; None trains one.
        method: Method that trains it.
        student: Student that is trained.
        seed: Seed of its run.
        settings: Settings of its run, by dotted name.
    """

    checkpoint: str | None = may_be_missing(None)
    method: str = may_be_missing("")
    student: str = may_be_missing("")
    seed: int = may_be_missing(0)
    settings: Mapping[str, object] = may_be_missing({})

    def __post_init__(self) -> None:
        """Refuse a teacher with neither a checkpoint nor a method, or with both."""
        if self.checkpoint is None and not (self.method and self.student):
            raise ValueError("give a checkpoint, or method and student to train a teacher")
        of_training = (self.method, self.student, self.seed, self.settings)
        if self.checkpoint is not None and of_training != ("", "", 0, {}):
            raise ValueError(
                "a teacher with a checkpoint is not trained: leave out method, student, seed and "
                "settings, or the checkpoint"
            )
        check_seed(self.seed, "seed")
        _set(self, settings=_flat(self.settings, _NO_RUNS_OWN))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry of the comparison: a method with a student and settings.

    Attributes:
        method: Name of the method.
        student: Name of the student; None takes the preset's, or in fine-tuning the teacher's.
        preset: Name of the method's preset to start from; None starts from its defaults.
        label: Label in tables and figures; None for its name.
        teacher: Name or path of its teacher, with "{game}" for the game; None for the suite's. The
            suite's teacher still defines the scores.
        settings: Settings by dotted name, which override the suite's.
        sweep: Dotted names of settings -> lists of values, expanded by `services.bench.sweeps`.
    """

    method: str
    student: str | None = may_be_missing(None)
    preset: str | None = may_be_missing(None)
    label: str | None = may_be_missing(None)
    teacher: str | None = may_be_missing(None)
    settings: Mapping[str, object] = may_be_missing({})
    sweep: Mapping[str, object] = may_be_missing({})

    def __post_init__(self) -> None:
        """Refuse settings that are not an entry's."""
        _set(self, settings=_flat(self.settings, _NO_RUNS_OWN))
        _set(self, sweep=_flat(self.sweep, _NO_RUNS_OWN))
        if twice := self.settings.keys() & self.sweep.keys():
            raise ValueError(f"{min(twice)} is in both settings and sweep; leave it out of one")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suite:
    """A comparison.

    Attributes:
        name: Short name.
        title: Heading of its report; by default its name.
        notes: A paragraph for the report; may be empty.
        environment: Name of the environment.
        games: Its games; the environment's name if it has only one.
        seeds: Numbers of the repetitions.
        teacher: The teacher of each game.
        settings: Settings of every student's run, by dotted name.
        entries: Name -> entry, in the order of the file; an entry with a sweep is replaced by its
            points.
        keep_replay: Whether finished runs keep their replay, which takes much disk space.
        sweeps: The sweeps, in the order of the file.
    """

    name: str
    environment: str
    games: tuple[str, ...]
    seeds: tuple[int, ...]
    teacher: SuiteTeacher
    entries: Mapping[str, Entry]
    title: str = may_be_missing("")
    notes: str = may_be_missing("")
    settings: Mapping[str, object] = may_be_missing({})
    keep_replay: bool = may_be_missing(False)
    sweeps: tuple[Sweep, ...] = dataclasses.field(default=(), init=False)

    def __post_init__(self) -> None:
        """Refuse names, numbers and settings that are out of range."""
        entries, sweeps = _expanded(self.entries)
        _set(self, entries=entries, sweeps=sweeps)
        refused = _OWNED
        if len(self.games) > 1:
            refused = _OWNED | dict.fromkeys(_SCALE, "games differ in it: make a suite per game")
        _set(
            self,
            title=self.title or self.name,
            games=self.games or (self.environment,),
            settings=_flat(self.settings, refused),
        )
        # Names become folders.
        folders = [folder_name(game) for game in self.games]
        for name in (*folders, *self.entries):
            check_name(name)
        if TEACHER in self.entries:
            raise ValueError(f"an entry is called {TEACHER!r}, which is reserved; rename the entry")
        for seed in self.seeds:
            check_seed(seed, "one of seeds")
        if self.entries and None not in [entry.teacher for entry in self.entries.values()]:
            raise ValueError(
                "every entry has its own teacher, but scores are relative to that of [teacher]: "
                "leave teacher out of at least one entry"
            )
        labels = [self.label_of(name) for name in self.entries]
        for label in labels:
            if _LABEL.fullmatch(label) is None:
                raise ValueError(f"label is {label[:80]!r}; {_LABEL_ADVICE}")
        for what, values in (("games", folders), ("seeds", self.seeds), ("labels", labels)):
            if len({*values}) != len(values):
                raise ValueError(f"{what} has duplicates: {[*values]}; give each only once")
        runs = len(self.entries) * len(self.games) * len(self.seeds)
        if not 0 < runs <= MAX_RUNS:
            raise ValueError(f"entries x games x seeds is {runs:,} runs; give 1 to {MAX_RUNS:,}")

    def label_of(self, entry: str) -> str:
        """Label of an entry in tables and figures."""
        label = self.entries[entry].label
        return entry if label is None else label


def read_suite(path: Path) -> tuple[Suite, str]:
    """Read a suite's file.

    Args:
        path: The file.

    Returns:
        The suite, and the text it was read from.

    Raises:
        UserError: it cannot be read or is not TOML, or a field is missing, unknown, of another type
            or out of range; the message names it.
    """
    with user_errors():
        content = read_bounded(path, MAX_FILE_BYTES, what="a suite")
    with user_errors((ValueError, RecursionError, UserError), prefix=f"{path}: "):
        text = content.decode("utf-8")
        return parse_suite(text), text


def parse_suite(text: str) -> Suite:
    """Read a suite's text.

    Args:
        text: TOML.

    Raises:
        ValueError, UserError: as `read_suite`.
    """
    return decode(Suite, tomllib.loads(text), "the suite")


def _expanded(entries: Mapping[str, Entry]) -> tuple[dict[str, Entry], tuple[Sweep, ...]]:
    """The entries, with those of a sweep replaced by its points; and the sweeps."""
    expanded: dict[str, Entry] = {}
    sweeps = []
    for name, entry in entries.items():
        found = {name: entry}
        if entry.sweep:
            label, settings = name if entry.label is None else entry.label, (*entry.sweep,)
            values_of_points = grid(entry.sweep)
            points = {point_name(name, settings, one): one for one in values_of_points}
            if len(points) < len(values_of_points):
                raise ValueError(
                    f"{name}: two points of its sweep have the same name among {[*points]}; make "
                    "them separate entries"
                )
            sweeps.append(Sweep(entry=name, label=label, settings=settings, points=points))
            found = {
                point: dataclasses.replace(
                    entry,
                    label=point_label(label, settings, values),
                    settings={**entry.settings, **dict(zip(settings, values, strict=True))},
                    sweep={},
                )
                for point, values in points.items()
            }
        if twice := expanded.keys() & found.keys():
            raise ValueError(f"two entries are called {min(twice)}; rename one")
        expanded |= found
    return expanded, tuple(sweeps)


def _set(one: object, **values: object) -> None:
    """Set fields of a frozen dataclass during its creation."""
    for name, value in values.items():
        object.__setattr__(one, name, value)


def _flat(
    settings: Mapping[str, object], refused: Mapping[str, str], prefix: str = ""
) -> dict[str, object]:
    """Settings by dotted name; nested tables mean the same as dots."""
    flat: dict[str, object] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        inner = _flat(value, refused, f"{name}.") if isinstance(value, dict) else {name: value}
        for given in inner:
            if given in refused:
                raise ValueError(f"settings has {given}; {refused[given]}")
            if given in flat:
                raise ValueError(f"settings has {given} twice; give it only once")
        flat.update(inner)
    return flat
