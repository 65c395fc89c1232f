"""Fine-tuning: start from the teacher's weights, and from its replay data if there is any.

Agarwal et al., 2022, section 5: a Nature DQN trained with RMSProp is trained further with Adam at a
low rate. The student has the teacher's architecture, so the teacher must be a network of ours or of
Dopamine.
"""

from __future__ import annotations

import dataclasses

from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.terms import temporal_difference
from rrl_agents.schedules.learning_rate import constant
from rrl_agents.training.q_learning_config import QLearningConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuningConfig:
    """Settings of fine-tuning.

    Attributes:
        q_learning: Q-learning, as in all methods; with 1-step returns by default.
        learning_rate: Learning rate, above 0. A low one keeps the student from forgetting what the
            teacher learned.
    """

    q_learning: QLearningConfig = QLearningConfig(n_step=1)
    learning_rate: float = 1e-5


def fine_tuning(config: FineTuningConfig) -> Recipe:
    """Build fine-tuning: the teacher's weights, then plain Q-learning."""
    return Recipe(
        name="fine_tuning",
        q_learning=config.q_learning,
        terms=(temporal_difference(),),
        learning_rate=constant(config.learning_rate),
        initial_weights="teacher",
        warm_starts_replay=True,
    )
