"""The launcher's watch over a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from services.launcher import watching
from services.learner.client import LearnerUnavailable
from services.learner.v1.learner_pb2 import STAGE_FINISHED, GetProgressResponse, Progress


def test_the_watch_goes_on_where_the_learner_does_not_answer_as_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finished = Progress(stage=STAGE_FINISHED, offline_updates=3, online_updates=4)
    playing = GetProgressResponse(progress=finished)
    saved = GetProgressResponse(progress=finished, saved=finished)
    asked: Iterator[object] = iter(
        [
            LearnerUnavailable("no answer"),
            ValueError("the server there is no learner"),
            playing,
            saved,
        ]
    )

    def progress(client: object) -> object:
        answer = next(asked)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("services.learner.client.LearnerClient.progress", progress)
    answers: list[Any] = []

    def watched() -> bool:
        return watching.watch("localhost:1", lambda: False, answers.append, period_seconds=0.0)

    # Finished is what a checkpoint says, not what the learner has reached.
    assert watched()
    assert answers == [playing, saved]


def test_a_run_that_is_over_is_not_asked_any_more() -> None:
    assert not watching.watch("localhost:1", lambda: True, pytest.fail, period_seconds=0.0)
