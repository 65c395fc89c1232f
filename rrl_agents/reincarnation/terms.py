"""Terms that several methods share, ready to be put into a recipe."""

from __future__ import annotations

from collections.abc import Callable

from rrl_agents.losses import distillation, temporal_difference
from rrl_agents.training.objective import Term
from rrl_agents.types import Progress


def n_step_q_learning() -> Term:
    """The Q-learning term, "td", with weight 1; the items of replay hold the n steps."""
    return Term(
        name="td",
        loss=lambda row: temporal_difference.n_step_q_learning_loss(
            row.q_tm1, row.a_tm1, row.n_step_return, row.discount, row.q_target_t
        ),
        weight=lambda progress: 1.0,
    )


def distillation_from_teacher(
    *,
    temperature: float,
    coefficient: float,
    weight: Callable[[Progress], float],
    teacher_temperature: float | None = None,
) -> Term:
    """The distillation term, "distillation", over the rows the teacher has answered.

    Args:
        temperature: Above 0, softens the student's policy, and the teacher's.
        coefficient: Fixed factor beside the schedule.
        weight: Schedule, `Progress -> [0, 1]`.
        teacher_temperature: Above 0, softens the teacher's policy instead; None for the same.
    """
    return Term(
        name="distillation",
        loss=lambda row: distillation.distillation_loss(
            row.q_tm1, row.teacher_q, temperature, teacher_temperature
        ),
        weight=weight,
        coefficient=coefficient,
        needs_teacher=True,
    )
