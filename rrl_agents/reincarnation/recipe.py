"""A method as a recipe of parts.

Learner, actors and evaluator read a recipe, and never branch on a method's name. A recipe is pure:
its parts are functions of the progress, which the caller keeps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal, TypeAlias

from rrl_agents.behaviour.guide import Guide
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.ranges import check_ranges
from rrl_agents.schedules.linear_decay import linear_decay
from rrl_agents.students.config import StudentConfig
from rrl_agents.training.balance import balanced_coefficient
from rrl_agents.training.q_learning_config import QLearningConfig
from rrl_agents.training.term import Term
from rrl_agents.types import Progress, Stage

InitialWeights: TypeAlias = Literal["random", "teacher"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything about a method that a service needs to run it.

    Attributes:
        name: Key of the registry, e.g. "qdagger".
        q_learning: Settings shared by all methods: n-step, discount, batch, clocks, Adam.
        terms: Terms of the loss.
        learning_rate: Learning rate of the next update; reads the stored lambda.
        offline_updates: Gradient steps on the teacher's data before the student acts; 0 skips the
            offline stage.
        online_teacher_share: Share of a batch's rows drawn from the teacher's table in the online
            stage, in [0, 1]; offline it is 1.
        weaning_weight: The next lambda; the caller stores it in the progress after each evaluation
            and whenever `actor_steps` has increased.
        guide: When the teacher acts instead of the student; None for never.
        initial_weights: Source of the student's initial parameters: random, or the teacher's, whose
            architecture the student then has.
        warm_starts_replay: Whether the student's table starts with the teacher's recorded data, if
            there is any, as if the student had played it.
        fresh_optimiser_online: Whether to reset the optimiser's moments when the online stage
            begins.
        epsilon_waits_for_replay: Whether the decay of epsilon starts after `min_replay_size`
            decisions, as in Dopamine, instead of at the first, as in the released code of Agarwal
            et al., 2022.
    """

    name: str
    q_learning: QLearningConfig
    terms: tuple[Term, ...]
    learning_rate: Callable[[Progress], float]
    offline_updates: int = 0
    online_teacher_share: float = 0.0
    weaning_weight: Callable[[Progress], float] = lambda progress: 0.0
    guide: Guide | None = None
    initial_weights: InitialWeights = "random"
    warm_starts_replay: bool = False
    fresh_optimiser_online: bool = False
    epsilon_waits_for_replay: bool = False

    def __post_init__(self) -> None:
        """Refuse terms with the same name, and invalid counts."""
        names = [term.name for term in self.terms]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"terms are named {names}; a recipe needs one or more, all different")
        check_ranges(self, "offline_updates", least=0)

    @property
    def plays_from_the_start(self) -> bool:
        """Whether the student is already trained when it first acts."""
        return self.offline_updates > 0 or self.initial_weights == "teacher"

    @property
    def needs_teacher_data(self) -> bool:
        """Whether any stage learns from the teacher's table."""
        return self.offline_updates > 0 or self.online_teacher_share > 0.0

    def teacher_share(self, progress: Progress) -> float:
        """Share of a batch's rows drawn from the teacher's table, in [0, 1]."""
        return 1.0 if progress.stage < Stage.ONLINE else self.online_teacher_share

    def needs_teacher(self, progress: Progress) -> bool:
        """Whether actors query the teacher: some term with its answers has a weight above 0."""
        return any(term.needs_teacher and term.weight(progress) > 0.0 for term in self.terms)

    def teacher_acts(self, actor_steps: int) -> bool:
        """Whether the teacher may still take steps of the student's play."""
        return self.guide is not None and not self.guide.is_over(actor_steps)

    def asks_teacher(self, random_return: float) -> bool:
        """Whether actors query the teacher at the start of their play, for any reason."""
        beginning = Progress(random_return=random_return)
        return self.needs_teacher(beginning) or self.teacher_acts(actor_steps=0)

    def term_weights(
        self, progress: Progress, network: NetworkConfig, student: StudentConfig
    ) -> dict[str, float]:
        """Factor of each term in a student's loss: its schedule times its coefficient.

        Args:
            progress: The run's progress.
            network: The student's network.
            student: How it learns; with the network it determines the scale of the TD loss.
        """
        return {
            term.name: balanced_coefficient(term, network, student) * term.weight(progress)
            for term in self.terms
        }

    def exploration(self, *, noisy: bool) -> Callable[[int], float]:
        """Exploration rate of the actors, `actor_steps -> epsilon`.

        The released code's clock of epsilon also counts offline updates: after an offline stage, or
        with a teacher's weights and clock, the student explores with the final value.

        Args:
            noisy: Whether the student's network is noisy: the noise alone explores, epsilon is 0.
        """
        if noisy:
            return lambda actor_steps: 0.0
        settings = self.q_learning
        initial = settings.initial_epsilon
        if initial is None:
            initial = settings.final_epsilon if self.plays_from_the_start else 1.0
        return linear_decay(
            initial,
            settings.final_epsilon,
            settings.epsilon_decay_steps,
            warmup_steps=settings.min_replay_size if self.epsilon_waits_for_replay else 0,
        )
