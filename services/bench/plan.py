"""Plans the runs of a suite: entry x game x seed, each with its full experiment.

Every config is built before the first run starts, so a wrong setting is reported at once. Each run
has its own seed: no two entries, games or repetitions share random numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from rrl_agents import plugins
from rrl_agents.durable_files import write_whole
from rrl_agents.environments.game_names import folder_name, nearest_names
from rrl_agents.reincarnation.registry import METHODS, make_recipe
from rrl_agents.students.fitting import AUTO
from rrl_agents.students.registry import name_of
from services.bench.folder import REPLAY, BenchFolder
from services.bench.suite import Entry, Suite, read_suite
from services.launcher.experiment_config import ExperimentConfig, TeacherChoice
from services.launcher.presets import (
    PRESETS,
    check_named_student,
    fitting_name,
    trains_the_teachers_network,
    with_student,
)
from services.launcher.random_play import random_return
from services.launcher.run_directory import is_finished
from services.launcher.settings import with_settings
from services.shared.errors import UserError, user_errors

_PLAYED = "environment."
_TAUGHT = "teacher."

PROTOCOL_SETTINGS = ("evaluation.", _PLAYED)
"""Prefixes of the settings that teachers share with students, so that scores are comparable."""

TEACHERS_OWN = "teacher's own"
"""The student of a method that trains its teacher's network."""

_GAME = "{game}"
_ANY = (ValueError, UserError)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run of a suite.

    Attributes:
        name: "ENTRY/GAME/seedK", or "teacher/GAME" for a teacher that the suite trains.
        folder: Its folder.
        config: The whole experiment.
        student: Name of the student; `TEACHERS_OWN` if it cannot be chosen.
        game: The game's name in the suite.
        seed: The repetition's number in the suite.
        keep_replay: Whether to keep its replay once it is finished.
        entry: Name of its entry; empty for a teacher.
        has_suites_teacher: Whether its teacher is that of the suite, not its entry's own.
        needs: Directory of a trained teacher that must exist first; None for none.
        export: Directory to export its student to as a teacher; None for students' runs.
    """

    name: str
    folder: Path
    config: ExperimentConfig
    student: str
    game: str
    seed: int
    keep_replay: bool
    entry: str = ""
    has_suites_teacher: bool = True
    needs: Path | None = None
    export: Path | None = None

    @property
    def updates(self) -> int:
        """Gradient steps of the whole run, the measure of its length."""
        q_learning = self.config.method.q_learning
        learned_from = max(0, self.config.online_steps - q_learning.min_replay_size)
        offline = make_recipe(self.config.method).offline_updates
        return offline + learned_from // q_learning.update_period

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do; a teacher's run only serves its export."""
        is_there = is_finished(self.folder) if self.export is None else self.export.is_dir()
        return is_there and (self.keep_replay or not (self.folder / REPLAY).exists())


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a run ended in a worker.

    Attributes:
        finished: Whether it is finished; False if it was stopped.
        error: Why it failed; None if it did not.
        died: Whether its worker died, so that the run can resume.
    """

    finished: bool
    error: str | None = None
    died: bool = False


def plan_suite(suite: Suite, folder: BenchFolder) -> tuple[PlannedRun, ...]:
    """Plan every run of a suite.

    Args:
        suite: The suite.
        folder: Folder of its runs.

    Returns:
        The runs of teachers to train, one per game or none; then the students', ordered by seed, so
        that a suite that is stopped early has comparable results.

    Raises:
        UserError: a method, student, preset, environment, game or setting does not exist, or
            settings do not fit together; the message names the entry.
    """
    # Users have chosen the suite that they run, including the code of teachers that it names.
    plugins.allow(suite.environment, *suite.games, *_words(suite.settings))
    for entry in suite.entries.values():
        plugins.allow(entry.method, *_words(entry.settings))
    trained = suite.games if suite.teacher.checkpoint is None else ()
    students = itertools.product(suite.seeds, suite.games, suite.entries)
    return (
        *(_teacher(suite, game, folder) for game in trained),
        *(_student(suite, entry, game, seed, folder) for seed, game, entry in students),
    )


def _words(settings: Mapping[str, object]) -> list[str]:
    return [value for value in settings.values() if isinstance(value, str)]


def keep_suite(folder: BenchFolder, runs: Sequence[PlannedRun], text: str) -> None:
    """Check that a folder belongs to a suite, and store the suite's file in it.

    Args:
        folder: The folder; one process at a time.
        runs: The suite's runs.
        text: The suite's file.

    Raises:
        UserError: the folder has runs that the present suite would not make, or it cannot be
            written.
    """
    if folder.suite.exists():
        now = {run.name: run.config for run in runs}
        for before in plan_suite(read_suite(folder.suite)[0], folder):
            places = [place for place in (before.folder, before.export) if place and place.exists()]
            if places and now.get(before.name) != before.config:
                raise UserError(
                    f"{places[0]} was made with another suite: {before.name} has changed since. "
                    "Entries, games and seeds may be added; for anything else choose another "
                    "--out or another name, or delete that folder"
                )
    with user_errors((OSError,)):
        write_whole(folder.suite, text)


def run_seed(*names: object) -> int:
    """Seed of a run, derived from its names, below 2**30."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:4], "big") % 2**30


def _teacher(suite: Suite, game: str, folder: BenchFolder) -> PlannedRun:
    teacher, name = suite.teacher, f"teacher/{folder_name(game)}"
    entry = Entry(method=teacher.method, student=teacher.student, settings=teacher.settings)
    shared = {
        name: value for name, value in suite.settings.items() if name.startswith(PROTOCOL_SETTINGS)
    }
    with user_errors(_ANY, prefix="[teacher]: "):
        config = _config(suite, entry, game, shared)
        # It has no teacher itself, so let a return one above the random policy's have the score 1.
        no_teacher = TeacherChoice(
            checkpoint=None, mean_return=random_return(config.environment).mean + 1.0
        )
    return PlannedRun(
        name=name,
        folder=folder.teacher_runs / folder_name(game),
        config=dataclasses.replace(config, seed=run_seed(name, teacher.seed), teacher=no_teacher),
        student=teacher.student,
        game=game,
        seed=teacher.seed,
        export=folder.teachers / folder_name(game),
        keep_replay=suite.keep_replay,
    )


def _student(suite: Suite, entry: str, game: str, seed: int, folder: BenchFolder) -> PlannedRun:
    own = suite.entries[entry].teacher
    shared = {
        name: value
        for name, value in suite.settings.items()
        # Return, data and labels of the suite's teacher do not apply to another.
        if own is None or not name.startswith(_TAUGHT)
    }
    with user_errors(_ANY, prefix=f"[entries.{entry}]: "):
        config = _config(suite, suite.entries[entry], game, shared)
    given = suite.teacher.checkpoint if own is None else own
    trained = folder.teachers / folder_name(game)
    checkpoint = str(trained) if given is None else given.replace(_GAME, folder_name(game))
    name = f"{entry}/{folder_name(game)}/seed{seed}"
    student = suite.entries[entry].student or config.network.name
    if student == AUTO:
        student = name_of(config.network, config.student) or config.network.name
    return PlannedRun(
        name=name,
        folder=folder.run(entry, folder_name(game), seed),
        config=dataclasses.replace(
            config,
            seed=run_seed(name),
            teacher=dataclasses.replace(config.teacher, checkpoint=checkpoint),
        ),
        entry=entry,
        has_suites_teacher=own is None,
        student=TEACHERS_OWN if trains_the_teachers_network(config.method) else student,
        game=game,
        seed=seed,
        needs=trained if given is None else None,
        keep_replay=suite.keep_replay,
    )


def _config(
    suite: Suite, entry: Entry, game: str, shared: Mapping[str, object]
) -> ExperimentConfig:
    """Defaults or preset; then student, environment, shared settings and the entry's own."""
    _check_known("method", entry.method, METHODS)
    config = ExperimentConfig(method=METHODS[entry.method].config_class())
    if entry.preset is not None:
        presets = PRESETS.get(entry.method, {})
        _check_known(f"preset of {entry.method}", entry.preset, presets)
        config = presets[entry.preset]
    elif entry.student is None and not trains_the_teachers_network(config.method):
        raise UserError('student is missing; write student = "NAME" (rrl list students)')
    environment = dataclasses.replace(config.environment, name=suite.environment, game=game)
    config, settings = (
        # A suite's runs share the cores, with one process each.
        dataclasses.replace(config, environment=environment, one_process=True),
        {**shared, **entry.settings},
    )
    student = entry.student
    if student == AUTO:
        of_environment = {name: one for name, one in settings.items() if name.startswith(_PLAYED)}
        student = fitting_name(with_settings(config, of_environment))
    if student is not None:
        config = with_student(config, student)
    config = with_settings(config, settings)
    check_named_student(
        config,
        preset=entry.preset,
        student=student,
        # Network settings in [settings] are for all entries; fine-tuning ignores them.
        network_settings=[name for name in entry.settings if name.startswith("network.")],
    )
    return config


def _check_known(what: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise UserError(
            f"{name!r} is not a {what}; near it: {nearest_names(name, known) or 'none'}"
        )
