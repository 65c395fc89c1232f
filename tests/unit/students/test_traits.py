from __future__ import annotations

import dataclasses

import pytest

from rrl_agents.students.registry import STUDENTS
from rrl_agents.students.traits import broken_promises, name_of


@pytest.mark.parametrize("name", sorted(STUDENTS))
def test_no_two_students_have_the_same_traits(name: str) -> None:
    student = STUDENTS[name]
    assert name_of(student.network, student.learning) == name
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
    assert name_of(noisy, uniform) is None
    # Rainbow's replay is all that makes it more than C51.
    assert name_of(rainbow.network, uniform) == "c51"
