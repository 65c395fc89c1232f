"""The registry of students: their papers' numbers, and settings that mean something."""

from __future__ import annotations

from typing import Any

import pytest

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.students.config import StudentConfig
from rrl_agents.students.registry import STUDENTS

NATURE: dict[str, Any] = {"name": "nature_cnn", "features": (32, 64, 64), "hidden_units": 512}
ATOMS: dict[str, Any] = {"head": "categorical", "num_atoms": 51, "value_bound": 10.0}
XAVIER: dict[str, Any] = {"kernel_init": "xavier_uniform"}
PRIORITIES: dict[str, Any] = {"priority_exponent": 0.5, "importance_exponent": 0.5}

# Student -> what its network and its algorithm have beside the defaults of a plain DQN.
TABLE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dqn": (NATURE, {}),
    "double_dqn": (NATURE, {"double": True}),
    "dueling_dqn": (NATURE | {"dueling": True}, {}),
    "c51": (NATURE | ATOMS, {}),
    "rainbow": (NATURE | ATOMS | XAVIER, PRIORITIES),
    "rainbow_impala": (
        {"name": "impala_cnn", "features": (16, 32, 32)} | ATOMS | XAVIER,
        PRIORITIES,
    ),
    "noisy_dqn": (NATURE | {"noisy": True}, {}),
    "qr_dqn": (NATURE | {"head": "quantile", "num_atoms": 200}, {}),
    "iqn": (NATURE | {"head": "implicit_quantile", "num_atoms": 32}, {"quantile_samples": 64}),
    "drq": (
        NATURE | {"dueling": True},
        {"double": True, "random_shift": 4, "intensity_scale": 0.05},
    ),
    "minatar_dqn": (
        {"name": "small_cnn", "features": (16,), "hidden_units": 128, "padding": "VALID"},
        {},
    ),
    "vector_dqn": ({"name": "mlp", "features": (512, 512)}, {}),
}


@pytest.mark.parametrize("student", sorted(TABLE))
def test_a_student_has_its_papers_numbers(student: str) -> None:
    network, learning = TABLE[student]
    assert STUDENTS[student].network == NetworkConfig(**network)
    assert STUDENTS[student].learning == StudentConfig(**learning)


def test_the_table_names_every_student() -> None:
    assert set(TABLE) == set(STUDENTS)
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
