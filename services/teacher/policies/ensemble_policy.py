"""Several policies combined into one: each is evaluated, and a rule combines the scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.ensembles import RULES, Ensemble
from rrl_client.spec import DEFAULT_TEMPERATURE, PolicySpec
from services.teacher.policies.cards import info_of_card
from services.teacher.policies.interface import Policy


class EnsemblePolicy:
    """The members of an ensemble, evaluated one after another.

    `evaluate` may be called from as many threads as every member allows.
    """

    def __init__(self, ensemble: Ensemble, members: Sequence[Policy], card: TeacherCard) -> None:
        """Combine policies.

        Args:
            ensemble: The rule and its members.
            members: The members' policies in the ensemble's order, already checked to fit together.
            card: Card of the ensemble, from `ensemble_card`.
        """
        self.info = info_of_card(card)
        self.backend = ", ".join(sorted({member.backend for member in members}))
        self.dynamic_batch_size = all(member.dynamic_batch_size for member in members)
        self.max_concurrency = min(member.max_concurrency for member in members)
        self._members = tuple(members)
        self._combine = RULES[ensemble.rule].combine
        specs = [member.info.spec for member in members]
        self._temperatures = [_temperature(spec, ensemble.temperature) for spec in specs]

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Scores float32 [B, A] of [B, *observation_shape]; raises what a member raises."""
        scores = [member.evaluate(observations) for member in self._members]
        return self._combine(np.stack(scores), self._temperatures)


def _temperature(spec: PolicySpec, of_values: float) -> float:
    """The temperature that divides a member's scores."""
    if spec.output == "q_values":
        return of_values
    return DEFAULT_TEMPERATURE if spec.temperature is None else spec.temperature
