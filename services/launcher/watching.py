"""What a run's learner says of it, asked now and then until the run's end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TypeAlias

from services.learner.client import LearnerClient, LearnerUnavailable
from services.learner.v1.learner_pb2 import STAGE_FINISHED, GetProgressResponse

Answer: TypeAlias = GetProgressResponse
"""What the learner says of a run: clocks, targets, rates and losses."""


def watch(
    learner: str,
    is_over: Callable[[], bool],
    on_answer: Callable[[Answer], None],
    *,
    period_seconds: float,
) -> bool:
    """Ask the learner until the run is finished or over.

    Args:
        learner: Its "host:port"; it may not answer yet.
        is_over: Whether the run has ended otherwise.
        on_answer: Called with each answer.
        period_seconds: Time between two questions.

    Returns:
        Whether the run is finished: a checkpoint holds its end.
    """
    with contextlib.closing(LearnerClient(learner)) as client:
        while not is_over():
            with contextlib.suppress(LearnerUnavailable, ValueError):
                answer = client.progress()
                on_answer(answer)
                if answer.saved.stage == STAGE_FINISHED:
                    return True
            time.sleep(period_seconds)
    return False
