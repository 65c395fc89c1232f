"""DQfD: Q-learning with a margin by which the teacher's action must lead (Hester et al., 2018).

arXiv:1704.03732, in the form of Agarwal et al., 2022: the expert action is the teacher's best one,
    first in the teacher's data, then in the states that the student visits, with a weight that
    falls to 0.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from rrl_agents.ranges import check_ranges
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.terms import margin_over_other_actions, temporal_difference
from rrl_agents.schedules.learning_rate import constant
from rrl_agents.schedules.weaning import until_matching_teacher
from rrl_agents.training.q_learning_config import QLearningConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class DqfdConfig:
    """Settings of DQfD.

    Attributes:
        q_learning: Q-learning, as in all methods; with 1-step returns by default.
        margin: Margin by which the value of the teacher's best action must exceed the others, at
            least 0, in units of the return.
        margin_form: Whether the margin loss takes the "mean" over the actions, as in the paper's
            released code, or the "max", as in DQfD.
        margin_coefficient: Coefficient of the margin loss, at least 0. It is multiplied by lambda,
            which falls from 1 to 0 as the student's score approaches the teacher's.
        offline_updates: Gradient steps of the offline stage, on the teacher's data; at least 0.
        wean_steps: Student decisions after which lambda is 0, whatever the score.
        learning_rate: Learning rate, above 0.
    """

    q_learning: QLearningConfig = QLearningConfig(n_step=1)
    margin: float = 1.0
    margin_form: Literal["mean", "max"] = "mean"
    margin_coefficient: float = 1.0
    offline_updates: int = 1_000_000
    wean_steps: int = 1_500_000
    learning_rate: float = 1e-4

    def __post_init__(self) -> None:
        """Refuse numbers out of range; the parts check the rest."""
        check_ranges(self, "margin", "wean_steps", least=0)


def dqfd(config: DqfdConfig) -> Recipe:
    """Build DQfD: TD and the margin, lambda 1 offline, then weaned by the score."""
    return Recipe(
        name="dqfd",
        q_learning=config.q_learning,
        terms=(
            temporal_difference(),
            margin_over_other_actions(
                margin=config.margin,
                form=config.margin_form,
                coefficient=config.margin_coefficient,
            ),
        ),
        offline_updates=config.offline_updates,
        weaning_weight=until_matching_teacher(config.wean_steps),
        learning_rate=constant(config.learning_rate),
    )
