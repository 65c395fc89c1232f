"""Converts a teacher's card to the description that is served."""

from __future__ import annotations

from rrl_agents.checkpoints.teacher_card import TeacherCard
from services.teacher.policies.interface import PolicyInfo

_VERSION_DIGITS = 16


def info_of_card(card: TeacherCard) -> PolicyInfo:
    """The policy's description from a teacher's card."""
    return PolicyInfo(
        game=card.game,
        name=card.name,
        version=card.parameters_sha256[:_VERSION_DIGITS],
        spec=card.spec,
        card=card.to_json(),
    )
