"""Offline pre-training: conservative Q-learning on the teacher's data, then plain Q-learning.

CQL (Kumar et al., 2020, arXiv:2006.04779) in the form of Agarwal et al., 2022; with rehearsal
(Paine et al., 2019; Ball et al., 2023), which keeps a share of the teacher's data in every batch.
"""

from __future__ import annotations

import dataclasses

from rrl_agents.ranges import check_ranges
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.terms import conservative_penalty, temporal_difference
from rrl_agents.schedules.learning_rate import by_stage
from rrl_agents.training.q_learning_config import QLearningConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConservativeConfig:
    """The CQL penalty, and the learning rates.

    Attributes:
        temperature: Temperature of the penalty, above 0; divides the action values.
        coefficient: Coefficient of the penalty in the offline stage, at least 0; online it is 0.
        offline_learning_rate: Learning rate of the offline stage, above 0.
        online_learning_rate: Learning rate of the online stage, above 0. The optimiser's moments
            are reset between the two stages.
    """

    temperature: float = 0.1
    coefficient: float = 1.0
    offline_learning_rate: float = 1e-4
    online_learning_rate: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse a temperature out of range; the parts check the rest."""
        check_ranges(self, "temperature", above=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfflinePretrainingConfig:
    """Settings of offline pre-training.

    Attributes:
        q_learning: Q-learning, as in all methods; with 1-step returns by default.
        conservative: The penalty of conservative Q-learning (CQL), and the learning rates.
        offline_updates: Gradient steps of the offline stage, on the teacher's data; at least 0.
    """

    q_learning: QLearningConfig = QLearningConfig(n_step=1)
    conservative: ConservativeConfig = ConservativeConfig()
    offline_updates: int = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class RehearsalConfig:
    """Settings of rehearsal.

    Attributes:
        q_learning: Q-learning, as in all methods; with 1-step returns by default.
        conservative: The penalty of conservative Q-learning (CQL), and the learning rates.
        offline_updates: Gradient steps of the offline stage, on the teacher's data; at least 0.
        teacher_data_share: Probability that a row of an online batch comes from the teacher's data,
            above 0 and below 1; the paper sweeps 1/16 to 1/2.
    """

    q_learning: QLearningConfig = QLearningConfig(n_step=1)
    conservative: ConservativeConfig = ConservativeConfig()
    offline_updates: int = 1_000_000
    teacher_data_share: float = 0.25

    def __post_init__(self) -> None:
        """Refuse a share of 0 or 1."""
        check_ranges(self, "teacher_data_share", above=0, below=1)


def offline_pretraining(config: OfflinePretrainingConfig | RehearsalConfig) -> Recipe:
    """Build offline pre-training: TD and the penalty offline, TD alone online."""
    conservative = config.conservative
    return Recipe(
        name="offline_pretraining",
        q_learning=config.q_learning,
        terms=(
            temporal_difference(),
            conservative_penalty(
                temperature=conservative.temperature, coefficient=conservative.coefficient
            ),
        ),
        offline_updates=config.offline_updates,
        learning_rate=by_stage(
            offline=conservative.offline_learning_rate, online=conservative.online_learning_rate
        ),
        fresh_optimiser_online=True,
    )


def rehearsal(config: RehearsalConfig) -> Recipe:
    """Build rehearsal: offline pre-training, with teacher data in online batches."""
    return dataclasses.replace(
        offline_pretraining(config),
        name="rehearsal",
        online_teacher_share=config.teacher_data_share,
    )
