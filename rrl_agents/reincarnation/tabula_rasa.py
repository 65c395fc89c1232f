"""Plain Q-learning from random weights: the baseline for reincarnation.

With the plain network it is DQN with Adam instead of RMSProp (Mnih et al., 2015; Agarwal et al.,
2022, who call it tabula rasa DQN).
"""

from __future__ import annotations

import dataclasses

from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.terms import temporal_difference
from rrl_agents.schedules.learning_rate import constant
from rrl_agents.training.q_learning_config import QLearningConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class TabulaRasaConfig:
    """Settings of DQN (Adam), as in the paper's comparison.

    Attributes:
        q_learning: Q-learning, as in all methods; with 1-step returns by default.
        learning_rate: Learning rate, above 0.
    """

    q_learning: QLearningConfig = QLearningConfig(n_step=1)
    learning_rate: float = 6.25e-5


def tabula_rasa(config: TabulaRasaConfig) -> Recipe:
    """Build plain Q-learning: no teacher, no offline stage."""
    return Recipe(
        name="tabula_rasa",
        q_learning=config.q_learning,
        terms=(temporal_difference(),),
        learning_rate=constant(config.learning_rate),
        epsilon_waits_for_replay=True,
    )
