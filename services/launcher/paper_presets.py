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
from rrl_agents.reincarnation.registry import MethodConfig, make_recipe
from rrl_agents.students.registry import STUDENTS
from rrl_agents.training.q_learning_config import QLearningConfig
from services.launcher.experiment_config import ExperimentConfig

ITERATION_STEPS = 250_000
"""Decisions of the students between two evaluations."""


@dataclasses.dataclass(frozen=True)
class Preset:
    """An experiment with a name.

    Attributes:
        config: All of its settings.
        summary: One line for those who choose.
        student: Key of `STUDENTS` that it is named after; "" for none.
    """

    config: ExperimentConfig
    summary: str
    student: str = ""

    @property
    def method(self) -> str:
        """Key of the methods' registry."""
        return make_recipe(self.config.method).name


def _preset(method: MethodConfig, student: str, summary: str, iterations: int = 10) -> Preset:
    """A run of so many online iterations, evaluated after each."""
    chosen = STUDENTS[student]
    config = ExperimentConfig(
        method=method,
        network=chosen.network,
        student=chosen.learning,
        online_steps=iterations * ITERATION_STEPS,
        online_evaluation_period=ITERATION_STEPS // method.q_learning.update_period,
    )
    return Preset(config, summary, student)


_LONG_QDAGGER = QDaggerConfig(weaning=WeaningConfig(wean_steps=2_500_000))

_DRQ = QLearningConfig(
    n_step=10,
    update_period=1,
    target_update_steps=1,
    min_replay_size=1_600,
    epsilon_decay_steps=5_000,
)

# The paper has both kinds of guide; the released code's file has the mixture.
_JSRL = JsrlConfig(mixture_share=1.0)

# The paper sweeps the share of the teacher's data from 1/16 to 1/2.
_REHEARSAL = RehearsalConfig(teacher_data_share=0.25)

_FINE_TUNING = FineTuningConfig(q_learning=QLearningConfig(n_step=1, epsilon_decay_steps=250_000))

PAPER_PRESETS: Mapping[str, Preset] = {
    "qdagger_dqn": _preset(QDaggerConfig(), "dqn", "QDagger with a Nature DQN student"),
    "qdagger_rainbow": _preset(
        _LONG_QDAGGER, "rainbow", "QDagger with a Rainbow student on the Nature CNN", 15
    ),
    "qdagger_rainbow_impala": _preset(
        _LONG_QDAGGER, "rainbow_impala", "QDagger with a Rainbow student on the IMPALA CNN", 15
    ),
    "qdagger_drq": _preset(
        dataclasses.replace(_LONG_QDAGGER, q_learning=_DRQ),
        "drq",
        "QDagger with a DrQ student, an update for every step",
        15,
    ),
    "kickstarting_dqn": _preset(
        KickstartingConfig(), "dqn", "Kickstarting with a Nature DQN student"
    ),
    "dqfd_dqn": _preset(
        DqfdConfig(),
        "dqn",
        "DQfD with a Nature DQN student and the teacher's best actions as expert",
    ),
    "jsrl_dqn": _preset(
        _JSRL,
        "dqn",
        "JSRL with a Nature DQN student: roll-in, then a fading mixture with the teacher",
    ),
    "pretrained_dqn": _preset(
        OfflinePretrainingConfig(), "dqn", "Offline pre-training (CQL) of a Nature DQN student"
    ),
    "rehearsal_dqn": _preset(
        _REHEARSAL,
        "dqn",
        "Rehearsal with a Nature DQN student: a quarter of each batch from the teacher",
    ),
    "reloaded_dqn": _preset(
        _FINE_TUNING, "dqn", "Fine-tuning of a DQN (Adam) teacher, with its replay data", 30
    ),
    "reloaded_dqn_nature": _preset(
        _FINE_TUNING,
        "dqn",
        "Fine-tuning, with Adam, of a Nature DQN teacher that was trained with RMSProp",
        30,
    ),
}
"""Name -> experiment."""
