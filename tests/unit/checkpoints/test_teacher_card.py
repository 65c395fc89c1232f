from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from rrl_agents.checkpoints.sealed_json import seal, unseal
from rrl_agents.checkpoints.teacher_card import (
    MAX_GENERATIONS,
    Compute,
    EvaluationScore,
    Parent,
    PlayProtocol,
    TeacherCard,
)
from rrl_agents.networks.registry import NetworkConfig

SCORE = EvaluationScore(
    mean_return=1.5,
    std_return=0.5,
    episodes=2,
    epsilon=0.001,
    sticky_actions=0.25,
    interval=(1.0, 2.0),
    returns=(1.0, 2.0),
    note="two by hand",
)
PARENT = TeacherCard(
    name="what it learned from",
    game="pong",
    network=None,
    num_actions=2,
    observation_shape=(84, 84, 4),
    output="logits",
    temperature=0.5,
    made="elsewhere",
    parameters_sha256="0b" * 32,
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
    algorithm="QDagger",
    protocol=PlayProtocol(
        frames_per_step=4, stack_size=4, max_episode_steps=27_000, sticky_actions=0.25
    ),
    compute=Compute(
        environment_frames=400,
        teacher_frames=100,
        gradient_updates=25,
        hardware_seconds=1.5,
        hardware="two cores",
    ),
    command="rrl train qdagger",
    code_version="0.1.0",
    parents=(Parent(relations=("teacher", "data"), card=PARENT),),
    parameters_sha256="0a" * 32,
)


def changed(path: str, value: Any) -> str:
    """The card's JSON with one field set."""
    document = unseal(CARD.to_json())
    *branches, last = path.split(".")
    node = document
    for branch in branches:
        node = node[int(branch) if branch.isdigit() else branch]
    node[last] = value
    return seal(document)


@pytest.mark.parametrize(
    "card",
    [
        CARD,
        PARENT,
        dataclasses.replace(CARD, score=None, random_return=None, action_meanings=()),
        dataclasses.replace(CARD, protocol=None, compute=Compute(), parents=()),
    ],
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
    ],
)
def test_a_field_of_the_wrong_type_is_named(path: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"teacher card: field {path} is .*; it must be"):
        TeacherCard.from_json(changed(path, value))


@pytest.mark.parametrize(
    "path", ["colour", "network.colour", "score.colour", "protocol.colour", "compute.colour"]
)
def test_an_unknown_field_is_named(path: str) -> None:
    with pytest.raises(ValueError, match=f"unknown field {path}"):
        TeacherCard.from_json(changed(path, 1))


def test_a_missing_field_is_named() -> None:
    document = unseal(CARD.to_json())
    del document["score"]["epsilon"]
    with pytest.raises(ValueError, match=r"field score\.epsilon is missing"):
        TeacherCard.from_json(seal(document))


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


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_number_that_is_not_finite_is_refused(number: str) -> None:
    text = CARD.to_json().replace('"random_return": -20.7', f'"random_return": {number}')
    with pytest.raises(ValueError, match="teacher card: not valid JSON"):
        TeacherCard.from_json(text)


def test_a_card_is_not_made_with_a_number_that_is_not_finite() -> None:
    with pytest.raises(ValueError, match="random_return is nan"):
        dataclasses.replace(CARD, random_return=math.nan)
    with pytest.raises(ValueError, match="mean_return is inf"):
        dataclasses.replace(SCORE, mean_return=math.inf)
    with pytest.raises(ValueError, match="temperature is inf"):
        dataclasses.replace(PARENT, temperature=math.inf)


def test_a_card_with_another_fact_is_refused() -> None:
    for fact, other in (
        ('"game": "pong"', '"game": "qong"'),
        ("-20.7", "-21.7"),
        ('"a teacher"', '"b teacher"'),
    ):
        text = CARD.to_json()
        assert fact in text
        with pytest.raises(ValueError, match="teacher card: it is not as it was written"):
            TeacherCard.from_json(text.replace(fact, other))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", "3"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="teacher card"):
        TeacherCard.from_json(text)


def test_a_field_of_a_parent_is_named_with_its_place() -> None:
    with pytest.raises(ValueError, match=r"field parents\[0\]\.card\.name is 3"):
        TeacherCard.from_json(changed("parents.0.card.name", 3))


def line_of(generations: int) -> TeacherCard:
    card = PARENT
    for _ in range(generations - 1):
        card = dataclasses.replace(CARD, parents=(Parent(relations=("teacher",), card=card),))
    return card


def test_a_long_line_of_parents_comes_back_and_a_longer_one_is_refused() -> None:
    longest = line_of(MAX_GENERATIONS)
    assert TeacherCard.from_json(longest.to_json()) == longest
    with pytest.raises(ValueError, match=f"more than {MAX_GENERATIONS} generations"):
        TeacherCard.from_json(line_of(MAX_GENERATIONS + 1).to_json())
