"""Students: summaries that tell them apart, and settings that mean something.

That their networks are those of the libraries is checked in `tests/unit/networks`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from rrl_agents.students.config import StudentConfig
from rrl_agents.students.registry import STUDENTS, broken_promises, traits


def test_summaries_tell_students_apart() -> None:
    summaries = [student.summary for student in STUDENTS.values()]
    assert len(set(summaries)) == len(summaries)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"priority_exponent": -0.1},
            "-0.1; use a number at least 0 and at most 1",
        ),
        ({"priority_exponent": float("nan")}, "priority_exponent is nan"),
        ({"importance_exponent": 1.5}, "importance_exponent is 1.5"),
        ({"intensity_scale": 2.0}, "intensity_scale is 2.0"),
        ({"random_shift": -1}, "random_shift is -1; .*at most 32"),
        ({"random_shift": 84}, "random_shift is 84"),
        ({"quantile_samples": 0}, "quantile_samples is 0; .*at most 1024"),
        ({"quantile_samples": 10**9}, "quantile_samples is 1000000000"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StudentConfig(**settings)


def test_no_two_students_have_the_same_traits() -> None:
    found = [traits(student.network, student.learning) for student in STUDENTS.values()]
    assert all(found.count(one) == 1 for one in found)
    for name, student in STUDENTS.items():
        assert broken_promises(name, student.network, student.learning) == ()


def test_sizes_and_exponents_above_zero_are_free() -> None:
    rainbow = STUDENTS["rainbow"]
    network = dataclasses.replace(
        rainbow.network, features=(8, 8, 8), hidden_units=64, num_atoms=21
    )
    learning = dataclasses.replace(rainbow.learning, priority_exponent=1.0, importance_exponent=0.0)
    assert broken_promises("rainbow", network, learning) == ()


def test_what_is_another_student_is_named_setting_by_setting() -> None:
    rainbow = STUDENTS["rainbow"]
    noisy = dataclasses.replace(rainbow.network, noisy=True)
    uniform = dataclasses.replace(rainbow.learning, priority_exponent=0.0)
    assert broken_promises("rainbow", noisy, uniform) == (
        "network.noisy is True, rainbow has False",
        "student.priority_exponent is 0, rainbow has above 0",
    )
    # Rainbow's replay is all that makes it more than C51.
    assert broken_promises("c51", rainbow.network, uniform) == ()
