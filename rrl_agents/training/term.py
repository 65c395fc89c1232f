"""One part of a method's loss: a pure function of one transition, and its schedule.

Nothing here computes: recipes and their settings are read where JAX is not needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, Protocol

from rrl_agents.types import Array, Progress


class TransitionRow(NamedTuple):
    """What a term may look at: one n-step transition, or with a leading axis B a batch of them.

    Attributes:
        q_tm1: float32 [A], the student's values in the state acted in.
        a_tm1: int32 [], the action taken.
        td_loss: float32 [], what the student's algorithm makes of the row (`td_learning`).
        teacher_outputs: float32 [A], the teacher's values in the state acted in; 0 when unanswered.
    """

    q_tm1: Array
    a_tm1: Array
    td_loss: Array
    teacher_outputs: Array


class TermLoss(Protocol):
    """Loss of one transition."""

    def __call__(self, row: TransitionRow) -> Array:
        """Compute the loss, float32 [], of one row without batch axis."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Term:
    """One part of a method's loss.

    Attributes:
        name: Names the term in weights and metrics, e.g. "td".
        loss: Loss of one transition.
        weight: Schedule of the term, `Progress -> [0, 1]`.
        coefficient: Fixed factor of the term beside its schedule, at least 0.
        categorical_coefficient: The same beside the cross-entropy of a categorical student; None
            for `coefficient`.
        follows_td_scale: Whether the term is to keep its balance with the TD loss of any student
            (`balanced_coefficient`); False of the TD loss itself.
        needs_teacher: Whether only rows with a teacher's answer count.
    """

    name: str
    loss: TermLoss
    weight: Callable[[Progress], float]
    coefficient: float = 1.0
    categorical_coefficient: float | None = None
    follows_td_scale: bool = True
    needs_teacher: bool = False

    def __post_init__(self) -> None:
        """Refuse a coefficient that would turn a loss around."""
        for coefficient in (self.coefficient, self.categorical_coefficient):
            if coefficient is not None and not 0.0 <= coefficient < float("inf"):
                raise ValueError(
                    f"coefficient of term {self.name!r} is {coefficient}; use a number from 0"
                )
