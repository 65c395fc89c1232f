"""Jump-start RL: the teacher begins each episode, the student takes over (Uchendu et al., 2022).

arXiv:2204.02372, as Agarwal et al., 2022, compare it: the student learns by plain Q-learning from
what both have played, into one table. An iteration is the paper's 1M frames.
"""

from __future__ import annotations

import dataclasses

from rrl_agents.behaviour.guide import Guide
from rrl_agents.ranges import check_ranges
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.terms import temporal_difference
from rrl_agents.schedules.guide_horizon import shrinking_horizon
from rrl_agents.schedules.learning_rate import constant
from rrl_agents.schedules.linear_decay import linear_decay
from rrl_agents.training.q_learning_config import QLearningConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class JsrlConfig:
    """Settings of JSRL.

    Attributes:
        q_learning: Settings shared by all methods, with 1-step returns.
        roll_in_steps: Longest roll-in K at the beginning: the teacher plays the first k decisions
            of an episode, k drawn uniformly from 1 to K; 100 are 1 / (1 - discount), 0 for none.
        roll_in_decay: Factor of K from one iteration to the next, in [0, 1).
        iteration_steps: Decisions of an iteration.
        mixture_share: Probability that the teacher also takes a step after the roll-in, at the
            beginning; 0 leaves these to the student.
        mixture_steps: Decisions until that probability has fallen to 0, along a line.
        learning_rate: Adam's rate, above 0.
    """

    q_learning: QLearningConfig = QLearningConfig(n_step=1)
    roll_in_steps: int = 100
    roll_in_decay: float = 0.8
    iteration_steps: int = 250_000
    mixture_share: float = 0.0
    mixture_steps: int = 2_500_000
    learning_rate: float = 6.25e-5

    def __post_init__(self) -> None:
        """Refuse numbers without a meaning; the parts refuse the rest."""
        check_ranges(self, "roll_in_steps", least=0)
        check_ranges(self, "roll_in_decay", least=0, below=1)
        check_ranges(self, "mixture_share", least=0, most=1)
        check_ranges(self, "iteration_steps", "mixture_steps", least=1)


def jsrl(config: JsrlConfig) -> Recipe:
    """Put JSRL together: a guide that takes over less and less of the play, plain Q-learning."""
    return Recipe(
        name="jsrl",
        q_learning=config.q_learning,
        terms=(temporal_difference(),),
        learning_rate=constant(config.learning_rate),
        guide=Guide(
            horizon=shrinking_horizon(
                config.roll_in_steps, config.roll_in_decay, config.iteration_steps
            ),
            share=linear_decay(config.mixture_share, 0.0, config.mixture_steps),
        ),
    )
