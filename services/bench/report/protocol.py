"""Whether scores may be compared: were they measured under the same protocol?

A score means nothing without its exploration rate, its sticky actions and the length of its
episodes. Where the teacher's are others than the students', 1 is not the teacher any more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from services.bench.results import EvaluationRow, ReferenceRow, Results

_UNITS = {
    "epsilon": "epsilon",
    "sticky_actions": "sticky actions",
    "max_episode_steps": "steps until an episode is cut off",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProtocolCheck:
    """What was found.

    Attributes:
        differences: Sentences on what was measured differently; then scores do not compare.
        unknown: Sentences on what nobody noted.
    """

    differences: tuple[str, ...]
    unknown: tuple[str, ...]


def check_protocols(results: Results) -> ProtocolCheck:
    """Compare the protocols of the students among themselves and with their teachers'."""
    differences: list[str] = []
    unknown: list[str] = []
    for reference in results.references:
        rows = [row for row in results.evaluations if row.game == reference.game]
        differences.extend(_among_students(reference.game, rows))
        differences.extend(_with_teacher(reference, rows))
        unknown.extend(_not_known(reference))
    return ProtocolCheck(differences=tuple(differences), unknown=tuple(unknown))


def _among_students(game: str, rows: Sequence[EvaluationRow]) -> Iterator[str]:
    for field, unit in _UNITS.items():
        values = sorted({getattr(row, field) for row in rows})
        if len(values) > 1:
            yield f"{game}: students were evaluated with different {unit}: {values}"


def _with_teacher(reference: ReferenceRow, rows: Sequence[EvaluationRow]) -> Iterator[str]:
    for field, unit in _UNITS.items():
        of_teacher = getattr(reference, f"teacher_{field}")
        of_students = {getattr(row, field) for row in rows}
        if of_teacher is not None and of_students - {of_teacher}:
            yield (
                f"{reference.game}: the teacher was evaluated with {unit} {of_teacher}, students "
                f"with {sorted(of_students)}"
            )


def _not_known(reference: ReferenceRow) -> Iterator[str]:
    fields = ("epsilon", "sticky_actions", "max_episode_steps")
    missing = [_UNITS[field] for field in fields if getattr(reference, f"teacher_{field}") is None]
    if missing:
        yield f"{reference.game}: nobody noted of the teacher's score: {', '.join(missing)}"
