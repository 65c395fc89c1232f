"""One part of a method's loss: a pure function of a batch, and its schedule.

Nothing here computes, so that recipes and their settings need no JAX.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from rrl_agents.ranges import check_ranges
from rrl_agents.types import Array, Batch, Progress

if TYPE_CHECKING:
    from rrl_agents.networks.outputs import Outputs


class TermInputs(NamedTuple):
    """The inputs of a term.

    Attributes:
        batch: B transitions, with observations as the student sees them.
        online: The online network's outputs in the states acted in; gradients flow through them.
        target: The target network's outputs in the states bootstrapped from; no gradients flow.
        td_loss: float32 [B], loss of each row by the student's algorithm (`td_learning`).
        key: JAX random key, a fresh one for each term and update.
    """

    batch: Batch
    online: Outputs
    target: Outputs
    td_loss: Array
    key: Array


TermLoss = Callable[[TermInputs], Array]
"""Loss of each transition of a batch, float32 [B], neither masked, weighted nor averaged."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Term:
    """One part of a method's loss.

    Attributes:
        name: Names the term in weights and metrics, e.g. "td".
        loss: Loss of each transition.
        weight: Schedule of the term, `Progress -> [0, 1]`.
        coefficient: Fixed factor of the term beside its schedule, at least 0.
        categorical_coefficient: The coefficient beside the cross-entropy of a categorical student;
            None for `coefficient`.
        follows_td_scale: Whether to scale the term with the student's TD loss
            (`balanced_coefficient`); False for the TD loss itself.
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
        """Refuse a negative coefficient."""
        check_ranges(self, "coefficient", "categorical_coefficient", least=0)
