"""Experiments by name, for each method: the paper's scale, and some for a laptop."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.reincarnation.qdagger import QDaggerConfig, WeaningConfig
from rrl_agents.reincarnation.registry import METHODS, MethodConfig
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig
from rrl_agents.reincarnation.terms import DistillationConfig
from rrl_agents.students.registry import STUDENTS
from rrl_agents.training.q_learning_config import QLearningConfig
from services.evaluator.config import EvaluationProtocol
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.paper_presets import PAPER_PRESETS
from services.launcher.settings import nearest
from services.shared.errors import UserError

PAPER = "paper"
DEMO = "demo"

_DEMO_TEACHER_STEPS = 30_000
_DEMO_OFFLINE_UPDATES = 8_000
_DEMO_ONLINE_STEPS = 28_000
_DEMO_MIN_REPLAY_SIZE = 2_000

# As many updates as QDagger's two stages together, and more steps of play than teacher and student
# take there: what the same budget buys without a teacher.
_DEMO_TABULA_RASA_STEPS = 60_000

_DEMO_STUDENT = NetworkConfig(features=(16, 32, 32), hidden_units=256, padding="VALID")
"""A quarter of the teacher's work per state, so that two CPU cores do 30 to 60 updates a second."""


def with_student(config: ExperimentConfig, name: str) -> ExperimentConfig:
    """An experiment with a student of the registry: its network and its algorithm.

    Args:
        config: What is changed.
        name: Key of `STUDENTS`.

    Raises:
        UserError: there is no such student.
    """
    if name not in STUDENTS:
        like = nearest(name, STUDENTS) or tuple(STUDENTS)
        raise UserError(f"{name!r} is no student; use {' or '.join(like)}")
    student = STUDENTS[name]
    return dataclasses.replace(config, network=student.network, student=student.learning)


def _demo_q_learning(n_step: int) -> QLearningConfig:
    return QLearningConfig(
        n_step=n_step,
        target_update_steps=2_000,
        min_replay_size=_DEMO_MIN_REPLAY_SIZE,
        epsilon_decay_steps=2_000,
    )


def _demo(method: MethodConfig, *, teacher_steps: int, online_steps: int) -> ExperimentConfig:
    return ExperimentConfig(
        method=method,
        network=_DEMO_STUDENT,
        teacher_steps=teacher_steps,
        online_steps=online_steps,
        evaluation=EvaluationProtocol(episodes=6, final_episodes=10, num_envs=10),
        offline_evaluation_period=4_000,
        online_evaluation_period=3_250,
        replay_capacity=100_000,
        checkpoint_period_seconds=120.0,
    )


_DEMOS: Mapping[str, ExperimentConfig] = {
    # Pong's action values lie 0.01 to 0.05 apart, so the paper's temperature of 0.1 leaves the
    # teacher's policy nearly uniform: imitation takes about twice as many updates.
    "qdagger": _demo(
        QDaggerConfig(
            q_learning=_demo_q_learning(n_step=3),
            distillation=DistillationConfig(temperature=0.02),
            weaning=WeaningConfig(
                wean_steps=_DEMO_ONLINE_STEPS,
                taught_learning_rate=3e-4,
                weaned_learning_rate=1e-5,
            ),
            offline_updates=_DEMO_OFFLINE_UPDATES,
        ),
        teacher_steps=_DEMO_TEACHER_STEPS,
        online_steps=_DEMO_ONLINE_STEPS,
    ),
    "tabula_rasa": _demo(
        TabulaRasaConfig(q_learning=_demo_q_learning(n_step=3), learning_rate=3e-4),
        teacher_steps=0,
        online_steps=_DEMO_TABULA_RASA_STEPS,
    ),
}


def _paper(method: str) -> ExperimentConfig:
    """The paper's numbers for a method with a Nature DQN student."""
    if method == "fine_tuning":
        # It alone runs for longer than the 10M frames of the others.
        return PAPER_PRESETS["reloaded_dqn"].config
    config = ExperimentConfig(method=METHODS[method].config_class())
    # Nobody needs a teacher's data where nobody learns from a teacher.
    return dataclasses.replace(config, teacher_steps=0) if method == "tabula_rasa" else config


def _presets_of(method: str) -> Mapping[str, ExperimentConfig]:
    named = {name: one.config for name, one in PAPER_PRESETS.items() if one.method == method}
    demo = {DEMO: _DEMOS[method]} if method in _DEMOS else {}
    return {PAPER: _paper(method), **demo, **named}


def _summary(method: str, preset: str) -> str:
    if preset == PAPER:
        return f"The paper's numbers for {method} with a Nature DQN student"
    if preset == DEMO:
        return "Minutes on a laptop: Pong, a small student, the bundled teacher"
    return PAPER_PRESETS[preset].summary


PRESETS: Mapping[str, Mapping[str, ExperimentConfig]] = {
    method: _presets_of(method) for method in METHODS
}
"""Method -> preset -> experiment."""

SUMMARIES: Mapping[str, Mapping[str, str]] = {
    method: {preset: _summary(method, preset) for preset in presets}
    for method, presets in PRESETS.items()
}
"""Method -> preset -> one line about it."""
