"""What the user says of a teacher's scores goes before what the teacher says."""

from __future__ import annotations

from typing import Any

import pytest

from rrl_agents.checkpoints.stated_scores import StatedScores
from rrl_client import PolicySpec

VALUES = PolicySpec(num_actions=2, observation_shape=(3,))
LOGITS = PolicySpec(num_actions=2, observation_shape=(3,), output="logits", temperature=0.5)


@pytest.mark.parametrize(
    ("spec", "said", "expected"),
    [
        (VALUES, {}, ("q_values", None)),
        (LOGITS, {}, ("logits", 0.5)),
        (LOGITS, {"temperature": 2.0}, ("logits", 2.0)),
        # The temperature was one of logits.
        (LOGITS, {"output": "q_values"}, ("q_values", None)),
        # Logits without a temperature are those of the policy itself.
        (VALUES, {"output": "logits"}, ("logits", 1.0)),
        (VALUES, {"output": "logits", "temperature": 2.0}, ("logits", 2.0)),
    ],
)
def test_the_user_goes_before_the_teacher(
    spec: PolicySpec, said: dict[str, Any], expected: tuple[str, float | None]
) -> None:
    found = StatedScores(**said).applied_to(spec)
    assert (found.output, found.temperature) == expected


def test_a_temperature_of_q_values_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature is 2.0 for Q-values"):
        StatedScores(temperature=2.0).applied_to(VALUES)
