"""Terms that several methods share.

Losses are imported when first computed, so that recipes, settings and flags need no JAX.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from rrl_agents.ranges import check_ranges
from rrl_agents.training.term import Term, TermInputs, TermLoss
from rrl_agents.types import Array, Progress, Stage

# Coefficients of the distillation term in the paper's QDagger-DQN and QDagger-Rainbow.
_DQN_COEFFICIENT = 3.0
_RAINBOW_COEFFICIENT = 1.0


def weaned(progress: Progress) -> float:
    """The schedule of a teacher's term: the lambda stored in the progress."""
    return progress.weaning_weight


def offline_only(progress: Progress) -> float:
    """The schedule of a term for recorded data only: 1 before the online stage, then 0."""
    return 1.0 if progress.stage < Stage.ONLINE else 0.0


def temporal_difference(coefficient: float = 1.0) -> Term:
    """The term of the student's own algorithm, "td"; replay items contain the n steps.

    Args:
        coefficient: Factor of the term, at least 0.
    """
    return Term(
        name="td",
        loss=lambda seen: seen.td_loss,
        weight=lambda progress: 1.0,
        coefficient=coefficient,
        follows_td_scale=False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """The distillation term, which pulls the student towards its teacher.

    Attributes:
        loss: "kl", KL divergence of the softened policies, as in QDagger; "best_action",
            cross-entropy with the teacher's best action only; "values", mean squared difference of
            the action values; or "best_action_and_values", the sum of the last two.
        temperature: Softmax temperature of student and teacher, above 0; ignored by "values".
        teacher_temperature: Softmax temperature of the teacher alone, above 0. None uses the one in
            the teacher's card if the teacher gives logits, else the student's. Only "kl" uses it.
        coefficient: Coefficient of the distillation loss relative to the TD loss of one value,
            distribution or quantile, at least 0; multiplied by lambda, which falls from 1 to 0 in
            methods that wean. None for the paper's: 1 for a categorical student (its Rainbow), 3
            for others (its DQN).
    """

    loss: Literal["kl", "best_action", "values", "best_action_and_values"] = "kl"
    temperature: float = 0.1
    teacher_temperature: float | None = None
    coefficient: float | None = None

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        check_ranges(self, "temperature", "teacher_temperature", above=0)

    @property
    def compares_values(self) -> bool:
        """Whether the teacher's scores must be action values, not the logits of a policy."""
        return self.loss in ("values", "best_action_and_values")


MethodT = TypeVar("MethodT")


def with_distillation(
    method: MethodT, change: Callable[[DistillationConfig], DistillationConfig]
) -> MethodT:
    """A method's config with its distillation settings changed, whichever field holds them.

    Args:
        method: Config of any method; without distillation it stays unchanged.
        change: Maps the present settings to the new ones.
    """
    config: Any = method
    settings = vars(config).items()
    changes = {name: change(it) for name, it in settings if isinstance(it, DistillationConfig)}
    changed: MethodT = dataclasses.replace(config, **changes)
    return changed


RowLoss = Callable[[Array, Array], Array]
"""Loss float32 [] of one state, from the student's and the teacher's scores, float32 [A]."""


def against_teacher(loss: RowLoss) -> TermLoss:
    """A term's loss that compares the student's action values with the teacher's scores."""

    def of_batch(seen: TermInputs) -> Array:
        import jax

        return jax.vmap(loss)(seen.online.q_values, seen.batch.teacher_outputs)

    return of_batch


def distillation_from_teacher(config: DistillationConfig) -> Term:
    """The distillation term, "distillation", over the rows with a teacher's answer."""

    def loss(student_q: Array, teacher: Array) -> Array:
        from rrl_agents.losses import distillation

        if config.loss == "kl":
            temperatures = (config.temperature, config.teacher_temperature)
            return distillation.distillation_loss(student_q, teacher, *temperatures)
        total: Array = 0.0
        if config.loss != "values":
            total += distillation.best_action_cross_entropy(student_q, teacher, config.temperature)
        if config.compares_values:
            total += distillation.mean_squared_difference(student_q, teacher)
        return total

    return Term(
        name="distillation",
        loss=against_teacher(loss),
        weight=weaned,
        coefficient=_DQN_COEFFICIENT if config.coefficient is None else config.coefficient,
        categorical_coefficient=_RAINBOW_COEFFICIENT if config.coefficient is None else None,
        needs_teacher=True,
    )


def margin_over_other_actions(
    *, margin: float, form: Literal["mean", "max"], coefficient: float
) -> Term:
    """DQfD's term, "margin": the teacher's best action must lead; over the rows with its answer.

    Args:
        margin: Margin by which it must lead, at least 0.
        form: "mean" over the actions, or the "max" over them.
        coefficient: Fixed factor beside lambda.
    """

    def loss(student_q: Array, teacher: Array) -> Array:
        from rrl_agents.losses import large_margin

        of_form = large_margin.mean_margin_loss if form == "mean" else large_margin.max_margin_loss
        return of_form(student_q, teacher, margin)

    return Term(
        name="margin",
        loss=against_teacher(loss),
        weight=weaned,
        coefficient=coefficient,
        needs_teacher=True,
    )


def conservative_penalty(*, temperature: float, coefficient: float) -> Term:
    """CQL's term, "conservative": keeps values of actions outside the data from growing, offline.

    Args:
        temperature: Above 0, divides the values.
        coefficient: Fixed factor of the term.
    """

    def loss(seen: TermInputs) -> Array:
        import jax

        from rrl_agents.losses.conservative import conservative_loss

        of_row = functools.partial(conservative_loss, temperature=temperature)
        return jax.vmap(of_row)(seen.online.q_values, seen.batch.action)

    return Term(
        name="conservative",
        loss=loss,
        weight=offline_only,
        coefficient=coefficient,
    )
