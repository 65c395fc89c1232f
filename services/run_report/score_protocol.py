"""How a score was measured; only scores under the same protocol are comparable.

If the teacher was measured with another exploration rate, other sticky actions or another episode
limit than the student, a student like the teacher would not get the score 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator

from rrl_agents.typed_json import may_be_missing

UNITS = {
    "epsilon": "epsilon",
    "sticky_actions": "sticky actions",
    "max_episode_steps": "episode step limit",
}
"""Fields of a protocol -> in words."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreProtocol:
    """How scores were measured; unknown fields are None.

    Attributes:
        epsilon: Probability of a uniformly random action.
        sticky_actions: Probability that the environment repeats the last action.
        max_episode_steps: Agent steps after which an episode is cut off.
    """

    epsilon: float | None = may_be_missing(None)
    sticky_actions: float | None = may_be_missing(None)
    max_episode_steps: int | None = may_be_missing(None)


def differences(
    game: str, teacher: ScoreProtocol, students: Collection[ScoreProtocol]
) -> Iterator[str]:
    """Sentences on the known differences between a teacher's protocol and the students'."""
    for field, unit in UNITS.items():
        of_teacher = getattr(teacher, field)
        of_students = {getattr(student, field) for student in students} - {None}
        if of_teacher is not None and of_students - {of_teacher}:
            yield (
                f"{game}: the teacher was evaluated with {unit} {of_teacher}, students with "
                f"{sorted(of_students)}"
            )


def unknown(game: str, teacher: ScoreProtocol) -> Iterator[str]:
    """A sentence on the unknown fields of a teacher's protocol, if there are any."""
    missing = [unit for field, unit in UNITS.items() if getattr(teacher, field) is None]
    if missing:
        yield f"{game}: unknown of the teacher's score: {', '.join(missing)}"
