"""QDagger: distil the teacher offline, then wean the student (Agarwal et al., 2022).

arXiv:2206.01626, section 4.1; the numbers are those of its QDagger-DQN.
"""

from __future__ import annotations

import dataclasses

from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.terms import distillation_from_teacher, n_step_q_learning
from rrl_agents.schedules.learning_rate import following_weaning
from rrl_agents.schedules.weaning import until_matching_teacher
from rrl_agents.training.q_learning_config import QLearningConfig
from rrl_agents.types import Stage


@dataclasses.dataclass(frozen=True, kw_only=True)
class QDaggerConfig:
    """Settings of QDagger.

    Attributes:
        q_learning: Settings shared by all methods, with 3-step returns.
        temperature: Softens student and teacher in the distillation term, above 0.
        teacher_temperature: Softens the teacher instead, above 0: that of its policy where it
            gives logits (then it comes from the teacher's card); None for the same as the student.
        distillation_coefficient: Factor of that term beside lambda, at least 0.
        offline_updates: Gradient steps on the teacher's data, at least 0.
        wean_steps: Decisions of the students after which lambda is 0; 1.5M are 6M frames.
        taught_learning_rate: Adam's rate while lambda is 1.
        weaned_learning_rate: Adam's rate once lambda is 0; between, lambda interpolates.
    """

    q_learning: QLearningConfig = QLearningConfig(n_step=3)
    temperature: float = 0.1
    teacher_temperature: float | None = None
    distillation_coefficient: float = 3.0
    offline_updates: int = 1_000_000
    wean_steps: int = 1_500_000
    taught_learning_rate: float = 1e-4
    weaned_learning_rate: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse numbers without a meaning; the parts refuse the rest."""
        if self.temperature <= 0.0:
            raise ValueError(f"temperature is {self.temperature}; use a number above 0")
        if self.teacher_temperature is not None and self.teacher_temperature <= 0.0:
            raise ValueError(
                f"teacher_temperature is {self.teacher_temperature}; use a number above 0"
            )
        for name in ("offline_updates", "wean_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; use 0 or more")


def qdagger(config: QDaggerConfig) -> Recipe:
    """Put QDagger together: TD and distillation, lambda 1 offline, then weaned by the score."""
    return Recipe(
        name="qdagger",
        q_learning=config.q_learning,
        terms=(
            n_step_q_learning(),
            distillation_from_teacher(
                temperature=config.temperature,
                teacher_temperature=config.teacher_temperature,
                coefficient=config.distillation_coefficient,
                weight=lambda progress: progress.weaning_weight,
            ),
        ),
        offline_updates=config.offline_updates,
        weaning_weight=until_matching_teacher(config.wean_steps),
        learning_rate=following_weaning(
            taught=config.taught_learning_rate, weaned=config.weaned_learning_rate
        ),
        teacher_share=lambda stage: 1.0 if stage < Stage.ONLINE else 0.0,
        needs_teacher=lambda progress: progress.weaning_weight > 0.0,
        syncs_target_before_online=True,
    )
