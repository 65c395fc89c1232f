"""Students: summaries that tell them apart, and settings that mean something.

That their networks are those of the libraries is checked in `tests/unit/networks`.
"""

from __future__ import annotations

from typing import Any

import pytest

from rrl_agents.students.config import StudentConfig
from rrl_agents.students.registry import STUDENTS


def test_summaries_tell_students_apart() -> None:
    summaries = [student.summary for student in STUDENTS.values()]
    assert len(set(summaries)) == len(summaries)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"priority_exponent": -0.1}, "priority_exponent is -0.1; use 0 to 1"),
        ({"priority_exponent": float("nan")}, "priority_exponent is nan"),
        ({"importance_exponent": 1.5}, "importance_exponent is 1.5; use 0 to 1"),
        ({"intensity_scale": 2.0}, "intensity_scale is 2.0; use 0 to 1"),
        ({"random_shift": -1}, "random_shift is -1; use 0 to 32 pixels"),
        ({"random_shift": 84}, "random_shift is 84"),
        ({"quantile_samples": 0}, "quantile_samples is 0; use 1 to 1024"),
        ({"quantile_samples": 10**9}, "quantile_samples is 1000000000"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StudentConfig(**settings)
