"""Polls the learner of a run until the run ends."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TypeAlias

from services.learner.client import LearnerClient, LearnerUnavailable
from services.learner.v1.learner_pb2 import STAGE_FINISHED, GetProgressResponse

Answer: TypeAlias = GetProgressResponse
"""The learner's progress: clocks, targets, rates and losses."""

FIRST_PERIOD_SECONDS = 0.25


def watch(
    learner: str,
    is_over: Callable[[], bool],
    on_answer: Callable[[Answer], None],
    *,
    period_seconds: float,
    on_wait: Callable[[], None] = lambda: None,
) -> bool:
    """Poll the learner until the run is finished or has ended.

    Args:
        learner: Its "host:port"; it need not answer yet.
        is_over: Whether the run has ended otherwise.
        on_answer: Called with each answer.
        period_seconds: Time between polls; at most `FIRST_PERIOD_SECONDS` until the first answer.
        on_wait: Called before each poll until the first answer.

    Returns:
        Whether the run is finished: a checkpoint holds its final state.
    """
    has_answered, period = False, min(period_seconds, FIRST_PERIOD_SECONDS)
    with contextlib.ExitStack() as connection:
        client: LearnerClient | None = None
        while not is_over():
            if not has_answered:
                on_wait()
                # A new client for each poll: one that has found no server backs off longer and
                # longer.
                connection.close()
                client = None
            client = client or connection.enter_context(contextlib.closing(LearnerClient(learner)))
            with contextlib.suppress(LearnerUnavailable, ValueError):
                answer = client.progress()
                has_answered, period = True, period_seconds
                on_answer(answer)
                if answer.saved.stage == STAGE_FINISHED:
                    return True
            time.sleep(period)
    return False
