"""The launcher's watch over a run."""

from __future__ import annotations

import io
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.launcher import launch
from services.launcher.progress_display import ProgressDisplay
from services.learner.client import LearnerUnavailable
from services.learner.v1.learner_pb2 import STAGE_FINISHED, GetProgressResponse, Progress


def test_the_watch_goes_on_where_the_learner_does_not_answer_as_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finished = Progress(stage=STAGE_FINISHED, offline_updates=3, online_updates=4)
    answers: Iterator[object] = iter(
        [
            LearnerUnavailable("no answer"),
            ValueError("the server there is no learner"),
            GetProgressResponse(progress=finished, saved=finished),
        ]
    )

    def progress() -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(launch, "_POLL_SECONDS", 0.0)
    learner = cast("Any", SimpleNamespace(progress=progress))
    end = cast("Any", SimpleNamespace(over=False, stopping=False))
    assert launch._watch(learner, end, ProgressDisplay(io.StringIO())) == (True, 7)
