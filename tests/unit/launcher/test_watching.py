"""The watch over a run."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from services.launcher import watching
from services.learner.client import LearnerClient, LearnerUnavailable
from services.learner.v1.learner_pb2 import STAGE_FINISHED, GetProgressResponse, Progress

FINISHED = Progress(stage=STAGE_FINISHED, offline_updates=3, online_updates=4)
PLAYING = GetProgressResponse(progress=FINISHED)
SAVED = GetProgressResponse(progress=FINISHED, saved=FINISHED)


@pytest.mark.parametrize(
    ("over", "finished", "shown"),
    [
        # Finished is what a checkpoint says, not what the learner has reached.
        ([False] * 4, True, [PLAYING, SAVED]),
        # It is not asked any more once the run is over.
        ([False, False, False, True], False, [PLAYING]),
    ],
)
def test_the_watch_goes_on_where_the_learner_does_not_answer_as_one(
    monkeypatch: pytest.MonkeyPatch, over: list[bool], finished: bool, shown: list[Any]
) -> None:
    asked = [LearnerUnavailable("no answer"), ValueError("it is not a learner"), PLAYING, SAVED]
    monkeypatch.setattr(LearnerClient, "progress", Mock(side_effect=asked))
    answers: list[Any] = []
    is_over, on_wait = Mock(side_effect=over), Mock()
    found = watching.watch(
        "localhost:1", is_over, answers.append, period_seconds=0.0, on_wait=on_wait
    )
    assert found is finished
    assert answers == shown
    # Before the two questions that found none, and the one that found the first answer.
    assert on_wait.call_count == 3
