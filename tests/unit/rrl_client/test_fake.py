from __future__ import annotations

import numpy as np
import pytest

from rrl_client import PolicySpec, TeacherOverloaded, TeacherPolicy, TeacherUnavailable
from rrl_client.fake import FakeTeacher, PixelSums


def test_values_are_computed_by_the_policy_that_is_given() -> None:
    class LastPixel:
        spec = PolicySpec(num_actions=1, observation_shape=(2,), observation_dtype="float32")

        def evaluate(self, observations: np.ndarray) -> np.ndarray:
            return observations[:, -1:]

    teacher = FakeTeacher(LastPixel())
    answer = teacher.evaluate(np.asarray([[1, 2.5], [3, 4]], np.float32))
    assert answer.action_values.tolist() == [[2.5], [4]]
    assert teacher.queries == 1


def test_the_sum_and_the_addend_are_multiplied_by_the_actions_number() -> None:
    sums = PixelSums(spec=PolicySpec(num_actions=3, observation_shape=(2,)), addend=10)
    # (3 + 4 + 10) x 1, 2, 3.
    assert sums.evaluate(np.asarray([[3, 4]], np.uint8)).tolist() == [[17, 34, 51]]


def test_an_error_that_is_set_fails_every_call_until_it_is_taken_away() -> None:
    teacher = FakeTeacher()
    teacher.error = TeacherUnavailable("it is away")
    states = np.zeros((1, 2, 3), np.uint8)
    for ask in (teacher.describe, lambda: teacher.evaluate(states)):
        with pytest.raises(TeacherUnavailable, match="away"):
            ask()
    with pytest.raises(TeacherUnavailable):
        teacher.wait_until_ready(1.0)
    future = teacher.evaluate_future(states)
    assert isinstance(future.exception(), TeacherUnavailable)
    teacher.error = TeacherOverloaded("full", retry_after_seconds=0.5)
    with pytest.raises(TeacherOverloaded):
        teacher.evaluate(states)
    teacher.error = None
    assert teacher.evaluate(states).action_values.tolist() == [[0, 0]]


def test_a_teacher_of_logits_can_be_faked() -> None:
    spec = PolicySpec(
        num_actions=2,
        observation_shape=(2, 3),
        output="logits",
        temperature=0.5,
        action_meanings=("LEFT", "RIGHT"),
    )
    teacher = FakeTeacher(PixelSums(spec=spec))
    policy = TeacherPolicy(teacher, rng=np.random.default_rng(0))
    # Logits 60 and 120 at temperature 0.5: the second, for certain.
    assert policy(np.full((2, 3), 10, np.uint8)) == 1
    assert teacher.describe().spec.action_meanings == ("LEFT", "RIGHT")
