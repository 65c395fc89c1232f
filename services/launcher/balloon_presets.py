"""Balloon experiments: the paper's second domain, with a teacher that took a month of TPUs.

Perciatelli44 teaches a student of an eighth of its size, which flies 60 flights of its own.
The package's own student stays near random play for about 900 flights of training from scratch.
Clocks count decisions, 960 per flight.

Discount, n-step returns, batches, periods and Adam's epsilon are those of the Balloon Learning
Environment's own QR-DQN (its `quantile.gin`). Its exploration by flights of another policy is left
out. Its learning rate, 2e-6, suits hundreds of thousands of flights; only `balloon_perciatelli` has
it, with its network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.reincarnation.dqfd import DqfdConfig
from rrl_agents.reincarnation.jsrl import JsrlConfig
from rrl_agents.reincarnation.qdagger import (
    DaggerConfig,
    KickstartingConfig,
    QDaggerConfig,
    WeaningConfig,
)
from rrl_agents.reincarnation.registry import MethodConfig
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig
from rrl_agents.reincarnation.terms import DistillationConfig
from rrl_agents.students.registry import STUDENTS
from rrl_agents.training.optimiser_config import OptimiserConfig
from rrl_agents.training.q_learning_config import QLearningConfig
from services.evaluator.config import EvaluationProtocol
from services.launcher.experiment_config import ExperimentConfig, TeacherChoice

FLIGHT_STEPS = EnvironmentConfig(name="balloon").episode_steps
"""Decisions in a whole flight."""

_ELEMENTS = 1_099
"""Of an observation; the environment's module would import its libraries."""

_TEACHERS_FLIGHTS, _STUDENTS_FLIGHTS = 250, 60
_OFFLINE_UPDATES = 60_000
_TEACHER_DATA_SHARE = 0.5
_LEARNING_RATE = 3e-4

_Q_LEARNING = QLearningConfig(
    n_step=5,
    discount=0.993,
    target_update_steps=100,
    min_replay_size=500,
    epsilon_decay_steps=10 * FLIGHT_STEPS,
    optimiser=OptimiserConfig(epsilon=2e-5),
)
_WEANING = WeaningConfig(
    wean_steps=_STUDENTS_FLIGHTS * FLIGHT_STEPS,
    taught_learning_rate=_LEARNING_RATE,
    weaned_learning_rate=1e-5,
)

_DISTILLATION = DistillationConfig(temperature=1.0, coefficient=30.0)
"""The teacher's best two action values are a median of 0.29 apart. At a temperature above that, its
softened policy also says how much worse the other actions are: networks that imitate it lose less
of its value in flights that they have not learned from than at 0.1 (docs/results). The loss of a
higher temperature is smaller, and a TD loss of values around 60 stands beside it, so the
coefficient is larger than the paper's 3."""


def _experiment(method: MethodConfig) -> ExperimentConfig:
    student = STUDENTS["vector_qr_dqn"]
    return ExperimentConfig(
        method=method,
        environment=EnvironmentConfig(name="balloon"),
        # Together with its learning rate, better in new flights than plain layers (docs/results).
        network=dataclasses.replace(student.network, layer_norm=True),
        student=student.learning,
        teacher=TeacherChoice(checkpoint="BLE/perciatelli44"),
        teacher_steps=_TEACHERS_FLIGHTS * FLIGHT_STEPS,
        # The teacher's data show what it does away from its own path, too.
        collect_epsilon=0.1,
        online_steps=_STUDENTS_FLIGHTS * FLIGHT_STEPS,
        # A flight takes 6 s of CPU: few for the curve, more at the end, always with the same seeds.
        evaluation=EvaluationProtocol(
            episodes=5,
            final_episodes=20,
            teacher_episodes=20,
            epsilon=0.0,
            num_envs=5,
            first_seed=0,
        ),
        offline_evaluation_period=_OFFLINE_UPDATES // 2,
        online_evaluation_period=10 * FLIGHT_STEPS // _Q_LEARNING.update_period,
        num_actors=1,
        envs_per_actor=2,
        replay_capacity=_TEACHERS_FLIGHTS * FLIGHT_STEPS,
        checkpoint_period_seconds=120.0,
        pause_for_evaluation=True,
    )


_TABULA_RASA = _experiment(TabulaRasaConfig(q_learning=_Q_LEARNING, learning_rate=_LEARNING_RATE))

BALLOON_EXPERIMENTS: Mapping[str, ExperimentConfig] = {
    "qdagger": _experiment(
        QDaggerConfig(
            q_learning=_Q_LEARNING,
            weaning=_WEANING,
            offline_updates=_OFFLINE_UPDATES,
            distillation=_DISTILLATION,
            teacher_data_share=_TEACHER_DATA_SHARE,
        )
    ),
    "kickstarting": _experiment(
        KickstartingConfig(q_learning=_Q_LEARNING, weaning=_WEANING, distillation=_DISTILLATION)
    ),
    "dagger": _experiment(
        DaggerConfig(
            q_learning=_Q_LEARNING,
            learning_rate=_LEARNING_RATE,
            offline_updates=_OFFLINE_UPDATES,
            distillation=_DISTILLATION,
            teacher_data_share=_TEACHER_DATA_SHARE,
        )
    ),
    "dqfd": _experiment(
        DqfdConfig(
            q_learning=_Q_LEARNING,
            wean_steps=_WEANING.wean_steps,
            learning_rate=_LEARNING_RATE,
            offline_updates=_OFFLINE_UPDATES,
        )
    ),
    "jsrl": _experiment(
        JsrlConfig(
            q_learning=_Q_LEARNING,
            roll_in_steps=FLIGHT_STEPS // 2,
            iteration_steps=6 * FLIGHT_STEPS,
            mixture_steps=_WEANING.wean_steps,
            learning_rate=_LEARNING_RATE,
        )
    ),
    "tabula_rasa": dataclasses.replace(_TABULA_RASA, teacher_steps=0),
}
"""Method -> experiment, all with the same student and budget of flights."""

PERCIATELLI = dataclasses.replace(
    BALLOON_EXPERIMENTS["tabula_rasa"],
    method=TabulaRasaConfig(q_learning=_Q_LEARNING, learning_rate=2e-6),
    network=dataclasses.replace(
        STUDENTS["vector_qr_dqn"].network,
        features=(600,) * 7,
        input_low=(-1.0,) * _ELEMENTS,
        input_high=(1.0,) * _ELEMENTS,
    ),
)
"""The package's own student, from scratch: 7 layers of 600 units that see observations as they are,
and its learning rate."""
