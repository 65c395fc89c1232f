"""From a suite to its runs: entry x game x seed, each with its whole experiment.

Every config is put together before the first run starts, so a setting that is wrong is found out
at once. Runs have seeds of their own: two entries, games or repetitions share no random numbers.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from rrl_agents.environments.registry import random_return
from rrl_agents.reincarnation.registry import METHODS, make_recipe
from rrl_agents.students.registry import STUDENTS
from services.bench.folder import BenchFolder
from services.bench.suite import Entry, Suite, TrainedTeacher
from services.launcher.experiment_config import ExperimentConfig, TeacherChoice
from services.launcher.named_students import check_named_student, trains_the_teachers_network
from services.launcher.presets import PRESETS
from services.launcher.settings import with_settings
from services.shared.errors import UserError

PROTOCOL_SETTINGS = ("evaluation.", "environment.")
"""Beginnings of the settings that teachers share with students: scores must compare."""

TEACHERS_OWN = "teacher's own"
"""The student of a method that trains its teacher's network."""

_GAME = "{game}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run of a suite.

    Attributes:
        name: "ENTRY/GAME/seedK", or "teacher/GAME" of a teacher that the suite trains.
        folder: Its folder.
        config: The whole experiment.
        entry: Name of its entry; empty for a teacher.
        student: Name of the student, `TEACHERS_OWN` where it is no choice.
        game: What is played, as the suite calls it.
        seed: Number of the repetition, as the suite calls it.
        needs: Directory of a trained teacher that must be there first; None where there is none.
        export: Directory that its student is to become a teacher in; None for students.
        keep_replay: Whether its replay stays when it is finished.
    """

    name: str
    folder: Path
    config: ExperimentConfig
    entry: str
    student: str
    game: str
    seed: int
    needs: Path | None
    export: Path | None
    keep_replay: bool

    @property
    def updates(self) -> int:
        """Gradient steps of the whole run: what its length is measured by."""
        q_learning = self.config.method.q_learning
        learned_from = max(0, self.config.online_steps - q_learning.min_replay_size)
        offline = make_recipe(self.config.method).offline_updates
        return offline + learned_from // q_learning.update_period

    @property
    def is_done(self) -> bool:
        """Whether a teacher's run has become a teacher."""
        return self.export is not None and self.export.is_dir()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """All runs of a suite.

    Attributes:
        teachers: Runs of teachers to be trained; one per game, or none.
        students: Runs of the entries: the first seeds of everything come first, so that a suite
            that is stopped early has something to compare.
    """

    teachers: tuple[PlannedRun, ...]
    students: tuple[PlannedRun, ...]


def plan_suite(suite: Suite, folder: BenchFolder) -> Plan:
    """Put every run of a suite together.

    Args:
        suite: What is compared.
        folder: Where its runs lie.

    Raises:
        UserError: a method, student, preset, environment, game or setting that there is not, or
            settings that do not fit together; the message names the entry.
    """
    teachers: tuple[PlannedRun, ...] = ()
    if isinstance(suite.teacher, TrainedTeacher):
        teachers = tuple(_teacher(suite, suite.teacher, game, folder) for game in suite.games)
    return Plan(
        teachers=teachers,
        students=tuple(
            _student(suite, entry, game, seed, folder)
            for seed in suite.seeds
            for game in suite.games
            for entry in suite.entries
        ),
    )


def run_seed(*names: object) -> int:
    """Seed of a run: follows from its names, below 2**30."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:4], "big") % 2**30


def _teacher(suite: Suite, how: TrainedTeacher, game: str, folder: BenchFolder) -> PlannedRun:
    where = "[teacher]"
    _check_known(where, "method", how.method, METHODS)
    config = _with_student(_default(how.method), how.student, where)
    shared = {
        name: value for name, value in suite.settings.items() if name.startswith(PROTOCOL_SETTINGS)
    }
    config = _with_all(config, suite, game, {**shared, **how.settings}, where)
    _check_student(where, config, how.student, how.settings)
    name = f"teacher/{game}"
    return PlannedRun(
        name=name,
        folder=folder.teacher_run(game),
        config=dataclasses.replace(
            config,
            seed=run_seed(name, how.seed),
            teacher=_nobody(config, where),
        ),
        entry="",
        student=how.student,
        game=game,
        seed=how.seed,
        needs=None,
        export=folder.teacher(game),
        keep_replay=suite.keep_replay,
    )


def _student(suite: Suite, entry: Entry, game: str, seed: int, folder: BenchFolder) -> PlannedRun:
    where = f"[entries.{entry.name}]"
    config = _beginning(entry, where)
    if entry.student is not None:
        config = _with_student(config, entry.student, where)
    config = _with_all(config, suite, game, {**suite.settings, **entry.settings}, where)
    _check_student(where, config, entry.student, entry.settings, preset=entry.preset)
    name = f"{entry.name}/{game}/seed{seed}"
    is_trained = isinstance(suite.teacher, TrainedTeacher)
    return PlannedRun(
        name=name,
        folder=folder.run(entry.name, game, seed),
        config=dataclasses.replace(
            config,
            seed=run_seed(name),
            teacher=dataclasses.replace(
                config.teacher, checkpoint=_checkpoint(suite, game, folder)
            ),
        ),
        entry=entry.name,
        student=_student_name(entry, config),
        game=game,
        seed=seed,
        needs=folder.teacher(game) if is_trained else None,
        export=None,
        keep_replay=suite.keep_replay,
    )


def _check_student(
    where: str,
    config: ExperimentConfig,
    student: str | None,
    settings: Mapping[str, object],
    preset: str | None = None,
) -> None:
    # What [settings] say of the network is for all entries, and those that have none ignore it.
    own = [name for name in settings if name.startswith("network.")]
    try:
        check_named_student(config, preset=preset, student=student, network_settings=own)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _student_name(entry: Entry, config: ExperimentConfig) -> str:
    if trains_the_teachers_network(config.method):
        return TEACHERS_OWN
    return entry.student or config.network.name


def _checkpoint(suite: Suite, game: str, folder: BenchFolder) -> str:
    if isinstance(suite.teacher, TrainedTeacher):
        return str(folder.teacher(game))
    return suite.teacher.replace(_GAME, game)


def _default(method: str) -> ExperimentConfig:
    return ExperimentConfig(method=METHODS[method].config_class())


def _beginning(entry: Entry, where: str) -> ExperimentConfig:
    _check_known(where, "method", entry.method, METHODS)
    if entry.preset is None:
        config = _default(entry.method)
        if entry.student is None and not trains_the_teachers_network(config.method):
            raise UserError(f'{where} names no student; write student = "..."')
        return config
    presets = PRESETS.get(entry.method, {})
    _check_known(where, f"preset of {entry.method}", entry.preset, presets)
    return presets[entry.preset]


def _with_student(config: ExperimentConfig, student: str, where: str) -> ExperimentConfig:
    _check_known(where, "student", student, STUDENTS)
    known = STUDENTS[student]
    return dataclasses.replace(config, network=known.network, student=known.learning)


def _with_all(
    config: ExperimentConfig,
    suite: Suite,
    game: str,
    settings: Mapping[str, object],
    where: str,
) -> ExperimentConfig:
    """The config with the suite's environment and game, then with settings."""
    played = game if suite.has_games else config.environment.game
    try:
        environment = dataclasses.replace(config.environment, name=suite.environment, game=played)
        return with_settings(dataclasses.replace(config, environment=environment), settings)
    except (ValueError, UserError) as error:
        raise UserError(f"{where}: {error}") from error


def _nobody(config: ExperimentConfig, where: str) -> TeacherChoice:
    """No teacher: a score of 1 is then one more than the random policy's return."""
    try:
        return TeacherChoice(checkpoint=None, mean_return=random_return(config.environment) + 1.0)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _check_known(where: str, what: str, name: str, known: Iterable[str]) -> None:
    names = list(known)
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    nearest = f"; the nearest is {near[0]!r}" if near else ""
    raise UserError(
        f"{where}: {name!r} is no {what}{nearest}, known are {', '.join(names) or 'none'}"
    )
