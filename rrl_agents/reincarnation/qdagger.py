"""QDagger: distil the teacher offline, then wean the student (Agarwal et al., 2022).

arXiv:2206.01626, section 4.1; the numbers are those of its QDagger-DQN. The module also has
    kickstarting (Schmitt et al., 2018, arXiv:1803.03835), which has no offline stage, and the
    paper's two ablations: DAgger (Ross et al., 2011) alone, without the Q-learning term, and QL +
    DAgger. As in the released code, these two are never weaned: lambda stays 1.
"""

from __future__ import annotations

import dataclasses

from rrl_agents.ranges import check_ranges
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.terms import (
    DistillationConfig,
    distillation_from_teacher,
    temporal_difference,
)
from rrl_agents.schedules.learning_rate import constant, following_weaning
from rrl_agents.schedules.weaning import until_matching_teacher
from rrl_agents.training.q_learning_config import QLearningConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeaningConfig:
    """How lambda, the weight of the teacher's loss, decreases, and the learning rate with it.

    Attributes:
        wean_steps: Student decisions after which lambda is 0, whatever the score; 1.5M are 6M Atari
            frames.
        taught_learning_rate: Learning rate while lambda is 1.
        weaned_learning_rate: Learning rate once lambda is 0; interpolated by lambda in between.
    """

    wean_steps: int = 1_500_000
    taught_learning_rate: float = 1e-4
    weaned_learning_rate: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse a negative clock; the schedules check the rest."""
        check_ranges(self, "wean_steps", least=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QDaggerConfig:
    """Settings of QDagger.

    Attributes:
        q_learning: Q-learning, as in all methods; with 3-step returns by default.
        distillation: The distillation loss, which pulls the student's policy towards the teacher's.
        weaning: How lambda, the weight of the distillation loss, falls from 1 to 0 as the student's
            score approaches the teacher's.
        offline_updates: Gradient steps of the offline stage, on the teacher's data; at least 0.
        teacher_data_share: Share of the rows of an online batch that come from the teacher's data,
            at least 0 and below 1. The paper uses 0. A share above 0, as in rehearsal, helps the
            student remember the teacher's episodes while it has few of its own.
    """

    q_learning: QLearningConfig = QLearningConfig(n_step=3)
    distillation: DistillationConfig = DistillationConfig()
    weaning: WeaningConfig = WeaningConfig()
    offline_updates: int = 1_000_000
    teacher_data_share: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a share outside [0, 1)."""
        check_ranges(self, "teacher_data_share", least=0, below=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KickstartingConfig:
    """Settings of kickstarting: QDagger's, without the offline stage.

    Attributes:
        q_learning: Q-learning, as in all methods; with 3-step returns by default.
        distillation: The distillation loss, which pulls the student's policy towards the teacher's.
        weaning: How lambda, the weight of the distillation loss, falls from 1 to 0 as the student's
            score approaches the teacher's.
    """

    q_learning: QLearningConfig = QLearningConfig(n_step=3)
    distillation: DistillationConfig = DistillationConfig()
    weaning: WeaningConfig = WeaningConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class DaggerConfig:
    """Settings of DAgger alone, without a Q-learning loss; lambda stays 1.

    Attributes:
        q_learning: Q-learning, as in all methods; its loss has the coefficient 0 here.
        distillation: The distillation loss, which pulls the student's policy towards the teacher's.
        learning_rate: Learning rate, above 0.
        offline_updates: Gradient steps of the offline stage, on the teacher's data; at least 0.
        teacher_data_share: Share of the rows of an online batch that come from the teacher's data,
            at least 0 and below 1.
    """

    q_learning: QLearningConfig = QLearningConfig(n_step=3)
    distillation: DistillationConfig = DistillationConfig()
    learning_rate: float = 1e-4
    offline_updates: int = 1_000_000
    teacher_data_share: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a share outside [0, 1)."""
        check_ranges(self, "teacher_data_share", least=0, below=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QlDaggerConfig:
    """Settings of QL + DAgger: QDagger without weaning; lambda stays 1.

    Attributes:
        q_learning: Q-learning, as in all methods; with 3-step returns by default.
        distillation: The distillation loss, which pulls the student's policy towards the teacher's.
        learning_rate: Learning rate, above 0.
        offline_updates: Gradient steps of the offline stage, on the teacher's data; at least 0.
        teacher_data_share: Share of the rows of an online batch that come from the teacher's data,
            at least 0 and below 1.
    """

    q_learning: QLearningConfig = QLearningConfig(n_step=3)
    distillation: DistillationConfig = DistillationConfig()
    learning_rate: float = 1e-4
    offline_updates: int = 1_000_000
    teacher_data_share: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a share outside [0, 1)."""
        check_ranges(self, "teacher_data_share", least=0, below=1)


def qdagger(config: QDaggerConfig) -> Recipe:
    """Build QDagger: TD and distillation, lambda 1 offline, then weaned by the score."""
    weaning = config.weaning
    return Recipe(
        name="qdagger",
        q_learning=config.q_learning,
        terms=(temporal_difference(), distillation_from_teacher(config.distillation)),
        offline_updates=config.offline_updates,
        online_teacher_share=config.teacher_data_share,
        weaning_weight=until_matching_teacher(weaning.wean_steps),
        learning_rate=following_weaning(
            taught=weaning.taught_learning_rate, weaned=weaning.weaned_learning_rate
        ),
    )


def kickstarting(config: KickstartingConfig) -> Recipe:
    """Build kickstarting: QDagger's loss and weaning, online only."""
    online_only = QDaggerConfig(**vars(config), offline_updates=0)
    return dataclasses.replace(qdagger(online_only), name="kickstarting")


def ql_dagger(config: QlDaggerConfig | DaggerConfig) -> Recipe:
    """Build QL + DAgger: QDagger with a lambda of 1 throughout."""
    return Recipe(
        name="ql_dagger",
        q_learning=config.q_learning,
        terms=(temporal_difference(), distillation_from_teacher(config.distillation)),
        offline_updates=config.offline_updates,
        online_teacher_share=config.teacher_data_share,
        weaning_weight=lambda progress: 1.0,
        learning_rate=constant(config.learning_rate),
    )


def dagger(config: DaggerConfig) -> Recipe:
    """Build DAgger: distillation alone, on the teacher's data and then on the student's."""
    taught = ql_dagger(config)
    without_td = (temporal_difference(coefficient=0.0), *taught.terms[1:])
    return dataclasses.replace(taught, name="dagger", terms=without_td)
