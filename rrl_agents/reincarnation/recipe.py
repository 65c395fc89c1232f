"""A method as a recipe: the parts a run is put together from.

Learner, actors and evaluator read a recipe and know no method by name. A recipe is pure: its parts
are functions of the progress, and the caller keeps the progress.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from rrl_agents.schedules.exploration_epsilon import linear_decay
from rrl_agents.training.objective import Term
from rrl_agents.training.q_learning_config import QLearningConfig
from rrl_agents.types import Progress, Stage


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything about a method that a service needs to run it.

    Attributes:
        name: Key of the registry, e.g. "qdagger".
        q_learning: Settings shared by all methods: n-step, discount, batch, clocks, Adam.
        terms: Of the loss.
        offline_updates: Gradient steps on the teacher's data before the student acts; 0 skips the
            collect and offline stages.
        weaning_weight: Lambda from now on; the caller stores it in the progress, after each
            evaluation and whenever `actor_steps` has grown.
        learning_rate: Of the next update; reads the stored lambda.
        teacher_share: Share of a batch's rows drawn from the teacher's table in a stage, [0, 1].
        needs_teacher: Whether actors ask the teacher about their states.
        syncs_target_before_online: Whether the target network is set to the online network when
            the online stage begins.
    """

    name: str
    q_learning: QLearningConfig
    terms: tuple[Term, ...]
    offline_updates: int
    weaning_weight: Callable[[Progress], float]
    learning_rate: Callable[[Progress], float]
    teacher_share: Callable[[Stage], float]
    needs_teacher: Callable[[Progress], bool]
    syncs_target_before_online: bool

    def __post_init__(self) -> None:
        """Refuse terms that could not be told apart."""
        names = [term.name for term in self.terms]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"terms are named {names}; a recipe needs one or more, all different")

    def term_weights(self, progress: Progress) -> dict[str, float]:
        """Factor of each term in the loss: its schedule times its coefficient."""
        return {term.name: term.coefficient * term.weight(progress) for term in self.terms}

    def epsilon(self, actor_steps: int) -> float:
        """Exploration rate of the actors; 1 until replay is filled, then a line (Dopamine's)."""
        schedule = linear_decay(
            final_epsilon=self.q_learning.final_epsilon,
            decay_steps=self.q_learning.epsilon_decay_steps,
            warmup_steps=self.q_learning.min_replay_size,
        )
        return schedule(actor_steps)

    def target_update_period(self, stage: Stage) -> int:
        """Updates between copies to the target network in a stage."""
        del stage  # The same in both: offline an update counts as `update_period` decisions.
        return self.q_learning.target_update_period
