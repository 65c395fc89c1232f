"""Jump-start RL: the teacher begins each episode, the student takes over (Uchendu et al., 2022).

arXiv:2204.02372, in the form of Agarwal et al., 2022: the student learns by plain Q-learning from
    the play of both, in one table. An iteration is the paper's 1M frames.
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
        q_learning: Q-learning, as in all methods; with 1-step returns by default.
        roll_in_steps: Initial limit K of the roll-in's length: the teacher plays the first k
            decisions of an episode, with k drawn uniformly from 1 to K. 100 is 1 / (1 - discount);
            with 0 there is no roll-in.
        roll_in_decay: Factor in [0, 1) by which K is multiplied after each iteration.
        iteration_steps: Decisions in one iteration, including the teacher's in the roll-in.
        mixture_share: Initial probability that the teacher takes a step after the roll-in; 0 leaves
            these steps to the student.
        mixture_steps: Decisions over which that probability falls linearly to 0.
        learning_rate: Learning rate, above 0.
    """

    q_learning: QLearningConfig = QLearningConfig(n_step=1)
    roll_in_steps: int = 100
    roll_in_decay: float = 0.8
    iteration_steps: int = 250_000
    mixture_share: float = 0.0
    mixture_steps: int = 2_500_000
    learning_rate: float = 6.25e-5

    def __post_init__(self) -> None:
        """Refuse numbers out of range; the parts check the rest."""
        check_ranges(self, "roll_in_steps", least=0)
        check_ranges(self, "roll_in_decay", least=0, below=1)
        check_ranges(self, "mixture_share", least=0, most=1)
        check_ranges(self, "iteration_steps", "mixture_steps", least=1)


def jsrl(config: JsrlConfig) -> Recipe:
    """Build JSRL: a guide that plays less and less, and plain Q-learning."""
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
