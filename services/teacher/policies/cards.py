"""From a teacher's card, and what the user says beside it, to what is served."""

from __future__ import annotations

import dataclasses

from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_client.actions import DEFAULT_TEMPERATURE
from rrl_client.spec import PolicySpec
from services.teacher.policies.interface import PolicyInfo
from services.teacher.policies.source import TeacherSource

_VERSION_DIGITS = 16


def info_of_card(card: TeacherCard) -> PolicyInfo:
    """What a teacher's card says of its policy."""
    return PolicyInfo(
        game=card.game,
        name=card.name,
        version=card.parameters_sha256[:_VERSION_DIGITS],
        spec=card.spec,
    )


def with_overrides(spec: PolicySpec, overrides: TeacherSource) -> PolicySpec:
    """What a policy takes and gives, with what the user says of its scores.

    Args:
        spec: What the teacher says itself.
        overrides: What the user says.

    Returns:
        The same with the user's output and temperature; logits always have a temperature.

    Raises:
        ValueError: Output or temperature are out of range, or do not go together.
    """
    output = spec.output if overrides.output is None else overrides.output
    temperature = spec.temperature if output == spec.output else None
    if overrides.temperature is not None:
        temperature = overrides.temperature
    if output == "logits" and temperature is None:
        temperature = DEFAULT_TEMPERATURE
    return dataclasses.replace(spec, output=output, temperature=temperature)
