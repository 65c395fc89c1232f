"""Whether scores may be compared: were they measured under the same protocol?"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator

from services.bench.results import EvaluationRow, ReferenceRow, Results
from services.run_report.score_protocol import UNITS, ScoreProtocol, differences, unknown


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProtocolCheck:
    """What was found.

    Attributes:
        differences: Sentences on what was measured differently; then scores do not compare.
        unknown: Sentences on what is unknown.
    """

    differences: tuple[str, ...]
    unknown: tuple[str, ...]


def check_protocols(results: Results) -> ProtocolCheck:
    """Compare the protocols of the students among themselves and with their teachers'."""
    different: list[str] = []
    not_noted: list[str] = []
    for reference in results.references:
        game, teacher = reference.game, _protocol(reference, "teacher_")
        rows = [row for row in results.evaluations if row.game == game]
        students = {_protocol(row) for row in rows}
        different.extend(_among_students(game, students))
        different.extend(differences(game, teacher, students))
        not_noted.extend(unknown(game, teacher))
    return ProtocolCheck(differences=tuple(different), unknown=tuple(not_noted))


def _protocol(row: EvaluationRow | ReferenceRow, prefix: str = "") -> ScoreProtocol:
    return ScoreProtocol(**{field: getattr(row, f"{prefix}{field}") for field in UNITS})


def _among_students(game: str, students: Collection[ScoreProtocol]) -> Iterator[str]:
    for field, unit in UNITS.items():
        values = sorted({getattr(student, field) for student in students})
        if len(values) > 1:
            yield f"{game}: students were evaluated with different {unit}: {values}"
