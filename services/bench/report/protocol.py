"""Whether scores may be compared: were they measured under the same protocol?"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from services.bench.results import EvaluationRow, ReferenceRow, Results
from services.run_report.score_protocol import UNITS, ScoreProtocol, differences, unknown


def check_protocols(results: Results) -> tuple[list[str], list[str]]:
    """Compare the protocols of the students among themselves and with their teachers'.

    Returns:
        Sentences on what was measured differently, with which scores do not compare; and on what
        is unknown.
    """
    different: list[str] = []
    not_noted: list[str] = []
    for reference in results.references:
        game, teacher = reference.game, _protocol(reference, "teacher_")
        students = {_protocol(row) for row in results.evaluations if row.game == game}
        different.extend(_among_students(game, students))
        different.extend(differences(game, teacher, students))
        not_noted.extend(unknown(game, teacher))
    return different, not_noted


def _protocol(row: EvaluationRow | ReferenceRow, prefix: str = "") -> ScoreProtocol:
    return ScoreProtocol(**{field: getattr(row, f"{prefix}{field}") for field in UNITS})


def _among_students(game: str, students: Collection[ScoreProtocol]) -> Iterator[str]:
    for field, unit in UNITS.items():
        values = sorted({getattr(student, field) for student in students})
        if len(values) > 1:
            yield f"{game}: students were evaluated with different {unit}: {values}"
