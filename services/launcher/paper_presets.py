"""The experiments of Agarwal et al., 2022 (arXiv:2206.01626), by the names of the released code.

The numbers are the paper's (appendix A). Where it leaves one open, that of the code released with
it decides; each such place says so. The methods' own defaults are the paper's for a DQN student, so
only what differs from them stands here. Clocks are decisions of the students, 4 frames each; an
online iteration of the paper is 250,000 of them, an offline one 100,000 updates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from rrl_agents.reincarnation.dqfd import DqfdConfig
from rrl_agents.reincarnation.fine_tuning import FineTuningConfig
from rrl_agents.reincarnation.jsrl import JsrlConfig
from rrl_agents.reincarnation.offline_pretraining import OfflinePretrainingConfig, RehearsalConfig
from rrl_agents.reincarnation.qdagger import KickstartingConfig, QDaggerConfig, WeaningConfig
from rrl_agents.reincarnation.registry import MethodConfig
from rrl_agents.students.registry import STUDENTS
from rrl_agents.training.q_learning_config import QLearningConfig
from services.launcher.experiment_config import ExperimentConfig

ITERATION_STEPS = 250_000
"""Decisions of the students between two evaluations."""

_LONGER_WEANING = WeaningConfig(wean_steps=2_500_000)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaperPreset:
    """One experiment of the paper.

    Attributes:
        method: Key of the methods' registry.
        config: All of its settings.
        summary: One line for those who choose.
    """

    method: str
    config: ExperimentConfig
    summary: str


def _experiment(method: MethodConfig, student: str, *, iterations: int) -> ExperimentConfig:
    """A run of so many online iterations, evaluated after each."""
    chosen = STUDENTS[student]
    return ExperimentConfig(
        method=method,
        network=chosen.network,
        student=chosen.learning,
        online_steps=iterations * ITERATION_STEPS,
        online_evaluation_period=ITERATION_STEPS // method.q_learning.update_period,
    )


def _qdagger_rainbow(student: str) -> ExperimentConfig:
    return _experiment(QDaggerConfig(weaning=_LONGER_WEANING), student, iterations=15)


_DRQ = QLearningConfig(
    n_step=10,
    update_period=1,
    target_update_steps=1,
    min_replay_size=1_600,
    epsilon_decay_steps=5_000,
)

# The paper has both kinds of guide; the released code's file has the mixture.
_JSRL = JsrlConfig(mixture_share=1.0)

_FINE_TUNING = FineTuningConfig(q_learning=QLearningConfig(n_step=1, epsilon_decay_steps=250_000))

PAPER_PRESETS: Mapping[str, PaperPreset] = {
    "qdagger_dqn": PaperPreset(
        method="qdagger",
        config=_experiment(QDaggerConfig(), "dqn", iterations=10),
        summary="QDagger with a Nature DQN student",
    ),
    "qdagger_rainbow": PaperPreset(
        method="qdagger",
        config=_qdagger_rainbow("rainbow"),
        summary="QDagger with a Rainbow student on the Nature CNN",
    ),
    "qdagger_rainbow_impala": PaperPreset(
        method="qdagger",
        config=_qdagger_rainbow("rainbow_impala"),
        summary="QDagger with a Rainbow student on the IMPALA CNN",
    ),
    "qdagger_drq": PaperPreset(
        method="qdagger",
        config=_experiment(
            QDaggerConfig(q_learning=_DRQ, weaning=_LONGER_WEANING), "drq", iterations=15
        ),
        summary="QDagger with a DrQ student, an update for every step",
    ),
    "kickstarting_dqn": PaperPreset(
        method="kickstarting",
        config=_experiment(KickstartingConfig(), "dqn", iterations=10),
        summary="Kickstarting with a Nature DQN student",
    ),
    "dqfd_dqn": PaperPreset(
        method="dqfd",
        config=_experiment(DqfdConfig(), "dqn", iterations=10),
        summary="DQfD with a Nature DQN student and the teacher's best actions as expert",
    ),
    "jsrl_dqn": PaperPreset(
        method="jsrl",
        config=_experiment(_JSRL, "dqn", iterations=10),
        summary="JSRL with a Nature DQN student: roll-in, then a fading mixture with the teacher",
    ),
    "pretrained_dqn": PaperPreset(
        method="offline_pretraining",
        config=_experiment(OfflinePretrainingConfig(), "dqn", iterations=10),
        summary="Offline pre-training (CQL) of a Nature DQN student",
    ),
    "rehearsal_dqn": PaperPreset(
        method="rehearsal",
        # The paper sweeps the share of the teacher's data from 1/16 to 1/2.
        config=_experiment(RehearsalConfig(teacher_data_share=0.25), "dqn", iterations=10),
        summary="Rehearsal with a Nature DQN student: a quarter of each batch from the teacher",
    ),
    "reloaded_dqn": PaperPreset(
        method="fine_tuning",
        config=_experiment(_FINE_TUNING, "dqn", iterations=30),
        summary="Fine-tuning of a DQN (Adam) teacher, with its replay data",
    ),
    "reloaded_dqn_nature": PaperPreset(
        method="fine_tuning",
        config=_experiment(_FINE_TUNING, "dqn", iterations=30),
        summary="Fine-tuning, with Adam, of a Nature DQN teacher that was trained with RMSProp",
    ),
}
"""Name -> experiment."""
