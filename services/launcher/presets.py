"""Named experiments for each method: the paper's, and small ones for a laptop.

The paper's experiments (Agarwal et al., 2022, arXiv:2206.01626) have the names of the released code
and the numbers of appendix A. Where the paper leaves a number open, the released code decides; a
comment says so each time. The methods' defaults are the paper's for a DQN student, so this module
only has what differs. Clocks count the students' decisions, 4 frames each; an online iteration of
the paper is 250,000 of them, an offline one 100,000 updates.

The command line and the suites of `rrl bench` check here that an experiment keeps the student named
by its preset or by --student.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from rrl_agents.environments.registry import make_environment
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.reincarnation.dqfd import DqfdConfig
from rrl_agents.reincarnation.fine_tuning import FineTuningConfig
from rrl_agents.reincarnation.jsrl import JsrlConfig
from rrl_agents.reincarnation.offline_pretraining import OfflinePretrainingConfig, RehearsalConfig
from rrl_agents.reincarnation.qdagger import KickstartingConfig, QDaggerConfig, WeaningConfig
from rrl_agents.reincarnation.registry import METHODS, MethodConfig, make_recipe
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig
from rrl_agents.reincarnation.terms import DistillationConfig
from rrl_agents.students.fitting import AUTO, fitting_student
from rrl_agents.students.registry import STUDENTS, broken_promises, name_of
from rrl_agents.training.q_learning_config import QLearningConfig
from services.evaluator.config import EvaluationProtocol
from services.launcher.balloon_presets import BALLOON_EXPERIMENTS, PERCIATELLI
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.settings import nearest
from services.launcher.small_presets import SMALL_EXPERIMENTS
from services.shared.errors import UserError, user_errors

ValueT = TypeVar("ValueT")

PAPER = "paper"
DEMO = "demo"
SMALL = "small"
BALLOON = "balloon"
BALLOON_PERCIATELLI = "balloon_perciatelli"


ITERATION_STEPS = 250_000
"""Decisions of the students between evaluations."""


@dataclasses.dataclass(frozen=True)
class Preset:
    """A named experiment.

    Attributes:
        config: All of its settings.
        summary: One line for lists.
        student: Key of `STUDENTS` that it is named after; "" if none.
    """

    config: ExperimentConfig
    summary: str
    student: str = ""

    @property
    def method(self) -> str:
        """Key of the methods' registry."""
        return make_recipe(self.config.method).name


def _preset(
    method: MethodConfig, student: str = "dqn", iterations: int = 10, teacher: str = ""
) -> Preset:
    """An experiment of some online iterations, with an evaluation after each."""
    chosen = STUDENTS[student]
    config = ExperimentConfig(
        method=method,
        network=chosen.network,
        student=chosen.learning,
        online_steps=iterations * ITERATION_STEPS,
        online_evaluation_period=ITERATION_STEPS // method.q_learning.update_period,
    )
    name = make_recipe(method).name
    return Preset(config, f"The paper's numbers for {name}, student {student}{teacher}", student)


_LONG_QDAGGER = QDaggerConfig(weaning=WeaningConfig(wean_steps=2_500_000))

_DRQ = QLearningConfig(
    n_step=10,
    update_period=1,
    target_update_steps=1,
    min_replay_size=1_600,
    epsilon_decay_steps=5_000,
)

_FINE_TUNING = FineTuningConfig(q_learning=QLearningConfig(n_step=1, epsilon_decay_steps=250_000))

PAPER_PRESETS: Mapping[str, Preset] = {
    "qdagger_dqn": _preset(QDaggerConfig()),
    "qdagger_rainbow": _preset(_LONG_QDAGGER, "rainbow", 15),
    "qdagger_rainbow_impala": _preset(_LONG_QDAGGER, "rainbow_impala", 15),
    "qdagger_drq": _preset(dataclasses.replace(_LONG_QDAGGER, q_learning=_DRQ), "drq", 15),
    "kickstarting_dqn": _preset(KickstartingConfig()),
    "dqfd_dqn": _preset(DqfdConfig()),
    # The paper has both kinds of guide; the released gin file uses the mixture.
    "jsrl_dqn": _preset(JsrlConfig(mixture_share=1.0)),
    "pretrained_dqn": _preset(OfflinePretrainingConfig()),
    # The paper sweeps the share of the teacher's data from 1/16 to 1/2.
    "rehearsal_dqn": _preset(RehearsalConfig(teacher_data_share=0.25)),
    # Both with Adam, whatever the teacher was trained with.
    "reloaded_dqn": _preset(_FINE_TUNING, "dqn", 30, ", teacher a DQN (Adam)"),
    "reloaded_dqn_nature": _preset(_FINE_TUNING, "dqn", 30, ", teacher a Nature DQN (RMSProp)"),
}
"""Name -> experiment."""

_DEMO_STEPS = 28_000

_DEMO_Q_LEARNING = QLearningConfig(
    n_step=3, target_update_steps=2_000, min_replay_size=2_000, epsilon_decay_steps=2_000
)

_BASELINE = ExperimentConfig(
    method=TabulaRasaConfig(q_learning=_DEMO_Q_LEARNING, learning_rate=3e-4),
    # A quarter of the teacher's work per state, so that two CPU cores do 30 to 60 updates a second.
    network=NetworkConfig(features=(16, 32, 32), hidden_units=256, padding="VALID"),
    teacher_steps=0,
    # As many updates as QDagger's two stages together, and more steps of play than teacher and
    # student take there: the same budget without a teacher.
    online_steps=60_000,
    evaluation=EvaluationProtocol(episodes=6, final_episodes=10, num_envs=10),
    offline_evaluation_period=4_000,
    online_evaluation_period=3_250,
    replay_capacity=100_000,
    checkpoint_period_seconds=120.0,
)

_DEMO_QDAGGER = QDaggerConfig(
    q_learning=_DEMO_Q_LEARNING,
    # Pong's action values lie 0.01 to 0.05 apart, so the paper's temperature of 0.1 leaves the
    # teacher's policy nearly uniform: imitation takes about twice as many updates.
    distillation=DistillationConfig(temperature=0.02),
    weaning=WeaningConfig(
        wean_steps=_DEMO_STEPS, taught_learning_rate=3e-4, weaned_learning_rate=1e-5
    ),
    offline_updates=8_000,
)

_DEMOS: Mapping[str, ExperimentConfig] = {
    "qdagger": dataclasses.replace(
        _BASELINE, method=_DEMO_QDAGGER, teacher_steps=30_000, online_steps=_DEMO_STEPS
    ),
    "tabula_rasa": _BASELINE,
}


def with_student(config: ExperimentConfig, name: str) -> ExperimentConfig:
    """An experiment with a student of the registry: its network and its algorithm.

    Args:
        config: The experiment to change.
        name: Key of `STUDENTS`, or `AUTO` for the one that fits the environment.

    Raises:
        UserError: there is no such student, or no such environment.
    """
    if name == AUTO:
        name = fitting_name(config)
    if name not in STUDENTS:
        like = nearest(name, {**STUDENTS, AUTO: None}) or (*STUDENTS, AUTO)
        raise UserError(f"{name!r} is not a student; use {' or '.join(like)}")
    student = STUDENTS[name]
    return dataclasses.replace(config, network=student.network, student=student.learning)


def fitting_name(config: ExperimentConfig) -> str:
    """The student that fits an experiment's environment, a key of `STUDENTS`.

    Raises:
        UserError: the environment cannot be made.
    """
    with user_errors(), contextlib.closing(make_environment(config.environment, 1)) as environment:
        return fitting_student(environment.spec)


def _paper(method: str) -> Preset:
    """The paper's numbers for a method with a Nature DQN student."""
    if method == "fine_tuning":
        # Only this one runs longer than the 10M frames of the others.
        return PAPER_PRESETS["reloaded_dqn"]
    preset = _preset(METHODS[method].config_class())
    if method != "tabula_rasa":
        return preset
    # No teacher data is needed if nothing is learned from a teacher.
    config = dataclasses.replace(preset.config, teacher_steps=0)
    return dataclasses.replace(preset, config=config)


def _presets_of(method: str) -> dict[str, Preset]:
    presets = {PAPER: _paper(method)}
    if method in _DEMOS:
        summary = "Minutes on a laptop: Pong, a small student, the bundled teacher"
        presets[DEMO] = Preset(_DEMOS[method], summary)
    if method in SMALL_EXPERIMENTS:
        summary = "Minutes on two cores: any small environment (CartPole-v1), your teacher"
        presets[SMALL] = Preset(SMALL_EXPERIMENTS[method], summary)
    if method in BALLOON_EXPERIMENTS:
        summary = "Balloons: a student of 2 x 256 units, 60 flights, the teacher Perciatelli44"
        presets[BALLOON] = Preset(BALLOON_EXPERIMENTS[method], summary)
    if method == "tabula_rasa":
        summary = "Balloons: the student and the numbers of the Balloon Learning Environment"
        presets[BALLOON_PERCIATELLI] = Preset(PERCIATELLI, summary)
    return presets | {name: one for name, one in PAPER_PRESETS.items() if one.method == method}


class _OfMethods(Mapping[str, ValueT]):
    """A value for each method, made on access, because that imports methods of other packages.

    Args:
        make: Makes the value for a key of `METHODS`.
    """

    def __init__(self, make: Callable[[str], ValueT]) -> None:
        self._make = functools.cache(make)

    def __getitem__(self, method: str) -> ValueT:
        """The value of one method.

        Raises:
            KeyError: there is none of that name.
            ValueError: it cannot be imported.
        """
        if method not in METHODS:
            raise KeyError(method)
        return self._make(method)

    def __contains__(self, method: object) -> bool:
        """Whether there may be a method of that name."""
        return method in METHODS

    def __iter__(self) -> Iterator[str]:
        """The methods' names."""
        return iter(METHODS)

    def __len__(self) -> int:
        """How many there are."""
        return len(METHODS)


NAMED_PRESETS: Mapping[str, Mapping[str, Preset]] = _OfMethods(_presets_of)
"""Method -> name -> preset."""

PRESETS: Mapping[str, Mapping[str, ExperimentConfig]] = _OfMethods(
    lambda method: {name: preset.config for name, preset in NAMED_PRESETS[method].items()}
)
"""Method -> name -> experiment."""


def trains_the_teachers_network(method: MethodConfig) -> bool:
    """Whether a method trains the teacher's network, so that the student cannot be chosen."""
    # Default settings suffice; a recipe refuses some others.
    return make_recipe(type(method)()).initial_weights == "teacher"


def check_named_student(
    config: ExperimentConfig,
    *,
    preset: str | None,
    student: str | None,
    network_settings: Sequence[str],
) -> None:
    """Refuse settings that contradict the named student.

    Args:
        config: The experiment with all its settings.
        preset: The preset it started from; only the paper's are named after a student.
        student: The requested key of `STUDENTS`; None for none.
        network_settings: Names of the network settings that were given.

    Raises:
        UserError: the settings contradict the student's name, or a method that trains the teacher's
            network is given another network.
    """
    name = make_recipe(config.method).name
    if trains_the_teachers_network(config.method):
        given = [*network_settings] if student is None else [f"the student {student}"]
        if given:
            raise UserError(
                f"{name} trains the teacher's own network, which {given[0]} cannot change; leave "
                "it out (single settings of how it learns, like student.double, are taken)"
            )
    if preset is not None and preset in PAPER_PRESETS:
        own = PAPER_PRESETS[preset].student
        why = f"{preset} is named after its student {own}"
        _check_is(own, config, why, f"leave that out, or give the method instead, {name}")
    if student is not None:
        why = f"the student {student} was asked for"
        found = name_of(config.network, config.student)
        other = "no student" if found is None else f"the student {found}"
        _check_is(student, config, why, f"leave that out, or name {other}")


def _check_is(student: str, config: ExperimentConfig, why: str, advice: str) -> None:
    broken = broken_promises(student, config.network, config.student)
    if broken:
        raise UserError(f"{why}, and {'; '.join(broken)}: {advice}")
