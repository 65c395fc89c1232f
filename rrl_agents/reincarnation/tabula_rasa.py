"""Tabula rasa: plain Q-learning from nothing, what reincarnation is compared with."""

from __future__ import annotations

import dataclasses

from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.terms import n_step_q_learning
from rrl_agents.schedules.learning_rate import constant
from rrl_agents.training.q_learning_config import QLearningConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class TabulaRasaConfig:
    """Settings of DQN (Adam), as in the paper's comparison.

    Attributes:
        q_learning: Settings shared by all methods, with 1-step returns.
        learning_rate: Adam's rate, above 0.
    """

    q_learning: QLearningConfig = QLearningConfig(n_step=1)
    learning_rate: float = 6.25e-5

    def __post_init__(self) -> None:
        """Refuse a rate that does not learn."""
        if self.learning_rate <= 0.0:
            raise ValueError(f"learning_rate is {self.learning_rate}; use a number above 0")


def tabula_rasa(config: TabulaRasaConfig) -> Recipe:
    """Put plain Q-learning together: no teacher, no offline stage."""
    return Recipe(
        name="tabula_rasa",
        q_learning=config.q_learning,
        terms=(n_step_q_learning(),),
        offline_updates=0,
        weaning_weight=lambda progress: 0.0,
        learning_rate=constant(config.learning_rate),
        teacher_share=lambda stage: 0.0,
        needs_teacher=lambda progress: False,
        syncs_target_before_online=False,
    )
