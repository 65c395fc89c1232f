"""Whether scores may be compared: were they measured under the same protocol?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

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
        game, teacher = reference.game, _of_teacher(reference)
        rows = [row for row in results.evaluations if row.game == game]
        different.extend(_among_students(game, rows))
        different.extend(differences(game, teacher, [*map(_of_student, rows)]))
        not_noted.extend(unknown(game, teacher))
    return ProtocolCheck(differences=tuple(different), unknown=tuple(not_noted))


def _of_teacher(reference: ReferenceRow) -> ScoreProtocol:
    return ScoreProtocol(**{field: getattr(reference, f"teacher_{field}") for field in UNITS})


def _of_student(row: EvaluationRow) -> ScoreProtocol:
    return ScoreProtocol(**{field: getattr(row, field) for field in UNITS})


def _among_students(game: str, rows: Sequence[EvaluationRow]) -> Iterator[str]:
    for field, unit in UNITS.items():
        values = sorted({getattr(row, field) for row in rows})
        if len(values) > 1:
            yield f"{game}: students were evaluated with different {unit}: {values}"
