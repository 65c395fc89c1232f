from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from rrl_agents.checkpoints.sealed_json import seal, unseal
from rrl_agents.checkpoints.teacher_card import MAX_GENERATIONS, Compute, Parent, TeacherCard
from tests.support.cards import STUDENT, TEACHER


def changed(path: str, value: Any) -> str:
    """The card's JSON with one field set."""
    document = unseal(STUDENT.to_json())
    *branches, last = path.split(".")
    node = document
    for branch in branches:
        node = node[int(branch) if branch.isdigit() else branch]
    node[last] = value
    return seal(document)


@pytest.mark.parametrize(
    "card",
    [
        STUDENT,
        TEACHER,
        dataclasses.replace(STUDENT, score=None, random_return=None, action_meanings=()),
        dataclasses.replace(STUDENT, protocol=None, compute=Compute(), parents=()),
    ],
)
def test_a_card_comes_back_equal(card: TeacherCard) -> None:
    assert TeacherCard.from_json(card.to_json()) == card


def test_a_card_with_another_fact_is_refused() -> None:
    with pytest.raises(ValueError, match="teacher card: it has changed since it was written"):
        TeacherCard.from_json(STUDENT.to_json().replace("-20.7", "-21.7"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", None),
        ("num_actions", "6"),
        ("num_actions", True),
        ("observation_shape", "84"),
        ("network", "nature_cnn"),
        ("network.hidden_units", None),
        ("score", [1]),
        ("score.episodes", 1.5),
        ("score.mean_return", 10**400),
        ("random_return", False),
        ("output", None),
        ("temperature", "warm"),
        ("protocol", 1),
        ("protocol.reward_clipping", 1),
        ("compute.gradient_updates", 2.5),
        ("compute.hardware_seconds", "long"),
        ("score.interval", 1),
        ("parents", {}),
        ("parents.0.card.name", 3),
    ],
)
def test_a_field_of_the_wrong_type_is_named(path: str, value: Any) -> None:
    place = path.replace(".0", r"\[0\]")
    with pytest.raises(ValueError, match=rf"teacher card: field {place} is .*; it must be"):
        TeacherCard.from_json(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("game", "", "must not be empty"),
        ("num_actions", 0, "num_actions is 0"),
        ("num_actions", 3, "action_meanings names 2 actions, num_actions is 3"),
        ("observation_shape", [], "observation_shape is"),
        ("observation_shape", [84, 0], "observation_shape is"),
        ("observation_shape", [2**20, 2**20], "observation_shape is"),
        ("observation_dtype", "object", "observation_dtype is 'object'; give uint8 or float32"),
        ("parameters_sha256", "abc", "64 hex digits"),
        ("network.name", "resnet", "resnet"),
        ("network.padding", "FULL", "padding"),
        ("score.std_return", -1, "std_return is -1"),
        ("score.episodes", 0, "episodes is 0"),
        ("score.episodes", 3, "returns holds 2 numbers for 3 episodes"),
        ("score.epsilon", 1.5, "epsilon is 1.5"),
        ("score.sticky_actions", -0.25, "sticky_actions is -0.25"),
        ("score.interval", [2, 1], "interval is"),
        ("score.interval", [1], r"interval is \[1\]; it must be a list of 2, each a finite"),
        ("output", "values", "output is 'values'"),
        ("temperature", 1.0, "temperature is 1.0 for Q-values"),
        ("parents.0.card.temperature", 0.0, "temperature is 0.0"),
        ("parents.0.relations", [], "relations are"),
        ("parents.0.relations", ["cousin"], "relations are"),
        ("parents.0.card.num_actions", 0, "num_actions is 0"),
        ("protocol.frames_per_step", 0, "frames_per_step is 0"),
        ("protocol.sticky_actions", 2, "sticky_actions is 2"),
        ("compute.environment_frames", -1, "environment_frames is -1"),
        ("compute.teacher_frames", 10**19, "teacher_frames is"),
    ],
)
def test_a_value_out_of_range_is_refused(path: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TeacherCard.from_json(changed(path, value))


def test_a_card_is_not_made_with_a_number_that_is_not_finite() -> None:
    for record, change in (
        (STUDENT, {"random_return": math.nan}),
        (STUDENT.score, {"mean_return": math.inf}),
        (STUDENT.score, {"returns": (1.0, math.nan)}),
        (TEACHER, {"temperature": math.inf}),
    ):
        with pytest.raises(ValueError, match=" is (nan|inf)"):
            dataclasses.replace(record, **change)


def line_of(generations: int) -> TeacherCard:
    card = TEACHER
    for _ in range(generations - 1):
        card = dataclasses.replace(STUDENT, parents=(Parent(relations=("teacher",), card=card),))
    return card


def test_a_long_line_of_parents_comes_back_and_a_longer_one_is_refused() -> None:
    longest = line_of(MAX_GENERATIONS)
    assert TeacherCard.from_json(longest.to_json()) == longest
    with pytest.raises(ValueError, match=f"more than {MAX_GENERATIONS} generations"):
        TeacherCard.from_json(line_of(MAX_GENERATIONS + 1).to_json())
