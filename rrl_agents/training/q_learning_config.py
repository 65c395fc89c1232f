"""Settings that all methods share: Q-learning from replay, with Dopamine's clocks."""

from __future__ import annotations

import dataclasses

from rrl_agents.ranges import check_ranges
from rrl_agents.training.optimiser_config import OptimiserConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class QLearningConfig:
    """Q-learning from replay (Mnih et al., 2015); defaults are the paper's common settings.

    Attributes:
        n_step: Steps n of an n-step return: rewards summed before bootstrapping, at least 1.
        discount: Discount gamma per decision, in [0, 1).
        batch_size: Transitions in one update.
        update_period: Decisions of the students per online update.
        target_update_steps: Decisions between copies of the online network to the target network; a
            multiple of `update_period`. Offline, an update counts as `update_period` decisions.
        min_replay_size: Decisions in replay before online updates begin.
        initial_epsilon: Exploration rate before the decay, in [0, 1]. None uses `final_epsilon` for
            a student that is trained before it plays, else 1.
        final_epsilon: Exploration rate after the decay, in [0, 1].
        epsilon_decay_steps: Length of the decay, in decisions.
        optimiser: Adam or RMSProp; the learning rate is a setting of the method.
    """

    n_step: int = 1
    discount: float = 0.99
    batch_size: int = 32
    update_period: int = 4
    target_update_steps: int = 8_000
    min_replay_size: int = 20_000
    initial_epsilon: float | None = None
    final_epsilon: float = 0.01
    epsilon_decay_steps: int = 50_000
    optimiser: OptimiserConfig = OptimiserConfig()

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        check_ranges(self, "n_step", "batch_size", "update_period", "target_update_steps", least=1)
        check_ranges(self, "min_replay_size", "epsilon_decay_steps", least=1)
        check_ranges(self, "discount", least=0, below=1)
        check_ranges(self, "initial_epsilon", "final_epsilon", least=0, most=1)
        if self.target_update_steps % self.update_period != 0:
            raise ValueError(
                f"target_update_steps is {self.target_update_steps}; use a multiple of "
                f"update_period, {self.update_period}"
            )

    @property
    def target_update_period(self) -> int:
        """Updates between copies to the target network."""
        return self.target_update_steps // self.update_period
