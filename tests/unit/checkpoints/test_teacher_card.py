from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from rrl_agents.checkpoints.teacher_card import EvaluationScore, TeacherCard
from rrl_agents.networks.registry import NetworkConfig

SCORE = EvaluationScore(
    mean_return=1.5,
    std_return=0.5,
    episodes=2,
    epsilon=0.001,
    sticky_actions=0.25,
    returns=(1.0, 2.0),
    note="two by hand",
)
CARD = TeacherCard(
    name="a teacher",
    game="pong",
    network=NetworkConfig(features=(8, 8, 8), hidden_units=16),
    num_actions=2,
    observation_shape=(84, 84, 4),
    action_meanings=("NOOP", "FIRE"),
    score=SCORE,
    random_return=-20.7,
    made="by hand",
    parameters_sha256="0a" * 32,
)


def changed(path: str, value: Any) -> str:
    """The card's JSON with one field set."""
    document = json.loads(CARD.to_json())
    *branches, last = path.split(".")
    node = document
    for branch in branches:
        node = node[branch]
    node[last] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    "card", [CARD, dataclasses.replace(CARD, score=None, random_return=None, action_meanings=())]
)
def test_a_card_comes_back_equal(card: TeacherCard) -> None:
    assert TeacherCard.from_json(card.to_json()) == card


def test_whole_numbers_are_accepted_where_a_number_is_meant() -> None:
    card = TeacherCard.from_json(changed("random_return", -21))
    assert card.random_return == -21.0
    assert isinstance(card.random_return, float)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", 3),
        ("name", None),
        ("num_actions", "6"),
        ("num_actions", 2.0),
        ("num_actions", True),
        ("observation_shape", [84, 84.0, 4]),
        ("observation_shape", "84"),
        ("action_meanings", [1, 2]),
        ("network", None),
        ("network", "nature_cnn"),
        ("network.features", [[8]]),
        ("network.hidden_units", None),
        ("score", [1]),
        ("score.episodes", 1.5),
        ("score.mean_return", "high"),
        ("score.returns", [1, None]),
        ("score.mean_return", 10**400),
        ("random_return", False),
    ],
)
def test_a_field_of_the_wrong_type_is_named(path: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"teacher card: field {path} is .*; it must be"):
        TeacherCard.from_json(changed(path, value))


@pytest.mark.parametrize("path", ["colour", "network.colour", "score.colour"])
def test_an_unknown_field_is_named(path: str) -> None:
    with pytest.raises(ValueError, match=f"unknown field {path}"):
        TeacherCard.from_json(changed(path, 1))


def test_a_missing_field_is_named() -> None:
    document = json.loads(CARD.to_json())
    del document["score"]["epsilon"]
    with pytest.raises(ValueError, match=r"field score\.epsilon is missing"):
        TeacherCard.from_json(json.dumps(document))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("game", "", "must not be empty"),
        ("num_actions", 0, "num_actions is 0"),
        ("num_actions", 3, "action_meanings names 2 actions, num_actions is 3"),
        ("observation_shape", [], "observation_shape is"),
        ("observation_shape", [84, 0], "observation_shape is"),
        ("observation_shape", [2**20, 2**20], "observation_shape is"),
        ("observation_dtype", "object", "choose one of"),
        ("parameters_sha256", "abc", "64 hex digits"),
        ("network.name", "resnet", "resnet"),
        ("network.padding", "FULL", "padding"),
        ("random_return", float("nan"), "random_return is nan"),
        ("score.mean_return", float("inf"), "mean_return is inf"),
        ("score.std_return", -1, "std_return is -1"),
        ("score.episodes", 0, "episodes is 0"),
        ("score.episodes", 3, "returns holds 2 numbers for 3 episodes"),
        ("score.epsilon", 1.5, "epsilon is 1.5"),
        ("score.sticky_actions", -0.25, "sticky_actions is -0.25"),
    ],
)
def test_a_value_out_of_range_is_refused(path: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TeacherCard.from_json(changed(path, value))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", "3"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="teacher card"):
        TeacherCard.from_json(text)
