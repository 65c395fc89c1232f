"""Sums over family trees small enough to add up by hand."""

from __future__ import annotations

import dataclasses
import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from rrl_agents.checkpoints.lineage import Total, family, line_cost
from rrl_agents.checkpoints.teacher_card import Compute, Parent, TeacherCard
from rrl_agents.networks.config import NetworkConfig

TEACHER_COST = Compute(
    environment_frames=1000, teacher_frames=0, gradient_updates=250, hardware_seconds=3600.0
)


def agent(name: str, compute: Compute | None, *parents: Parent) -> TeacherCard:
    return TeacherCard(
        name=name,
        game="catch",
        network=NetworkConfig(name="mlp", features=(2,)),
        num_actions=3,
        observation_shape=(10, 5, 1),
        made="for a test",
        compute=compute,
        parents=parents,
        parameters_sha256=hashlib.sha256(name.encode()).hexdigest(),
    )


def of(card: TeacherCard, *relations: str) -> Parent:
    return Parent(relations=relations or ("teacher",), card=card)


def names(card: TeacherCard) -> list[tuple[str, int]]:
    return [(member.card.name, member.generation) for member in family(card)]


def test_three_generations_add_up_with_an_ancestor_on_two_ways_counted_once() -> None:
    teacher = agent("teacher", TEACHER_COST)
    first = agent(
        "first",
        Compute(
            environment_frames=100, teacher_frames=40, gradient_updates=30, hardware_seconds=60.0
        ),
        of(teacher),
    )
    # Taught by the first student, begun with the weights of the first teacher.
    second = agent(
        "second",
        Compute(environment_frames=10, teacher_frames=4, gradient_updates=3, hardware_seconds=6.0),
        of(teacher, "initial weights"),
        of(first),
    )
    assert names(second) == [("teacher", 1), ("first", 2), ("second", 3)]
    cost = line_cost(family(second))
    # 1000 + 100 + 10, 0 + 40 + 4, 250 + 30 + 3, 3600 + 60 + 6.
    assert {field: (total.known, total.unknown) for field, total in cost.items()} == {
        "environment_frames": (1110, 0),
        "teacher_frames": (44, 0),
        "gradient_updates": (283, 0),
        "hardware_seconds": (3666.0, 0),
    }


def test_a_cost_nobody_knows_makes_the_total_a_lower_bound() -> None:
    teacher = agent("teacher", None)
    student = agent("student", Compute(environment_frames=100, gradient_updates=30), of(teacher))
    cost = line_cost(family(student))
    assert cost["environment_frames"] == Total(known=100, unknown=1)
    assert cost["gradient_updates"] == Total(known=30, unknown=1)
    assert cost["hardware_seconds"] == Total(known=0, unknown=2)


def test_what_one_appearance_does_not_tell_is_taken_from_another() -> None:
    full = agent("teacher", TEACHER_COST)
    bare = dataclasses.replace(full, compute=Compute(environment_frames=900, hardware="a laptop"))
    student = agent("student", Compute(), of(bare, "initial weights"), of(full))
    merged, _ = family(student)
    # The larger of 900 and 1000 frames; the rest is given by one of the two.
    assert merged.compute == dataclasses.replace(TEACHER_COST, hardware="a laptop")


def test_frames_a_parent_recorded_of_its_own_play_are_not_paid_for_twice() -> None:
    recorder = agent("recorder", TEACHER_COST)
    student = agent("student", Compute(teacher_frames=400), of(recorder, "teacher", "data"))
    assert line_cost(family(student))["teacher_frames"] == Total(known=0, unknown=0)
    unknown = agent("recorder", None)
    student = agent("student", Compute(teacher_frames=400), of(unknown, "teacher", "data"))
    # The recorder itself may have had frames played for it: unknown.
    assert line_cost(family(student))["teacher_frames"] == Total(known=400, unknown=1)


def test_the_generation_is_counted_along_the_longest_way() -> None:
    elder = agent("elder", None)
    middle = agent("middle", None, of(elder))
    youngest = agent("youngest", None, of(elder, "data"), of(middle))
    assert names(youngest) == [("elder", 1), ("middle", 2), ("youngest", 3)]


def test_an_agent_with_its_parents_very_parameters_is_one_member() -> None:
    # Fine-tuning for no update at all: the card is new, the parameters are not.
    teacher = agent("teacher", TEACHER_COST)
    same = dataclasses.replace(teacher, name="same", parents=(of(teacher, "initial weights"),))
    (member,) = family(same)
    assert member.card.name == "same"
    assert line_cost((member,))["environment_frames"] == Total(known=1000, unknown=0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=3), max_size=6))
def test_any_line_counts_each_agent_once_and_parents_first(choices: list[list[int]]) -> None:
    """Agent i costs 2 to the i frames, so that a sum tells who was counted."""
    made = [agent("0", Compute(environment_frames=1))]
    for index, picks in enumerate(choices, start=1):
        chosen = sorted({pick % index for pick in picks})
        parents = [of(made[pick]) for pick in chosen]
        made.append(agent(str(index), Compute(environment_frames=2**index), *parents))
    members = family(made[-1])
    found = [int(member.card.name) for member in members]
    assert len(found) == len(set(found))
    assert found[-1] == len(choices)
    cost = line_cost(members)["environment_frames"]
    assert cost == Total(known=sum(2**index for index in found), unknown=0)
    for position, member in enumerate(members):
        parents_found = [int(parent.card.name) for parent in member.card.parents]
        assert set(parents_found) <= set(found[:position])
