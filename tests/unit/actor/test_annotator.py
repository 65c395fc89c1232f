from __future__ import annotations

import logging

import numpy as np
import pytest

from rrl_client import TeacherClient, TeacherRejected
from services.actor.behaviours import Annotator, is_settled
from tests.support.policies import PixelSums

# Pixels of sum 10: the teacher of these tests answers (10, 20, 30).
STATE = np.asarray([[[[0, 3], [0, 7]]]], np.uint8)


def test_labels_that_are_there_or_were_never_asked_for_need_no_waiting() -> None:
    annotator = Annotator()
    values = np.ones((2, 3), np.float32)
    assert is_settled(values)
    assert is_settled(None)
    assert annotator.scores(values) is values
    assert annotator.scores(None) is None
    assert annotator.unanswered_queries == 0


def test_an_answer_under_way_is_waited_for(
    teacher: TeacherClient, teacher_policy: PixelSums
) -> None:
    teacher_policy.gate.clear()
    future = teacher.evaluate_future(STATE, 30)
    assert not is_settled(future)
    teacher_policy.gate.set()
    values = Annotator().scores(future)
    assert values is not None
    np.testing.assert_array_equal(values, [[10, 20, 30]])
    assert is_settled(future)


def test_a_late_answer_is_given_up_at_its_deadline_and_counted(
    teacher: TeacherClient, teacher_policy: PixelSums
) -> None:
    annotator = Annotator()
    teacher_policy.gate.clear()
    futures = [teacher.evaluate_future(STATE, 0.2) for _ in range(3)]
    # No answer comes: the gate is closed.
    assert [annotator.scores(future) for future in futures] == [None, None, None]
    assert annotator.unanswered_queries == 3


def test_an_absent_teacher_is_one_line_in_the_log_not_one_per_query(
    caplog: pytest.LogCaptureFixture,
) -> None:
    annotator = Annotator()
    with TeacherClient("127.0.0.1:1") as unreachable, caplog.at_level(logging.WARNING):
        for _ in range(5):
            assert annotator.scores(unreachable.evaluate_future(STATE, 5)) is None
    assert annotator.unanswered_queries == 5
    assert len(caplog.records) == 1


def test_states_of_another_game_end_the_play(teacher: TeacherClient) -> None:
    annotator = Annotator()
    with pytest.raises(TeacherRejected, match="observation"):
        annotator.scores(teacher.evaluate_future(np.zeros((1, 5, 5, 1), np.uint8), 30))
    assert annotator.unanswered_queries == 0
