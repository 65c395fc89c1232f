"""The teacher's scores of states on their way into replay, asked for behind acting.

A query never delays an actor and never loses a state: the environments step while it is under way,
it has a deadline, and a state without an answer is stored without a label, which the distillation
loss masks out.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from rrl_client import TeacherAnswer, TeacherError, TeacherRejected
from services.shared.logging import Occasionally

Labels = NDArray[np.float32] | Future[TeacherAnswer] | None
"""Scores of N states: float32 [N, A], an answer under way, or None without a query."""

_LOG_PERIOD_SECONDS = 10.0


def is_settled(labels: Labels) -> bool:
    """Whether the labels can be read without a wait."""
    return not isinstance(labels, Future) or labels.done()


class Annotator:
    """Reads the teacher's answers, and counts those that are missing."""

    def __init__(self) -> None:
        self._answered_queries = self._unanswered_queries = 0
        # A teacher that is unavailable fails every query: one line says as much as a thousand.
        self._should_log = Occasionally(_LOG_PERIOD_SECONDS)

    @property
    def answered_queries(self) -> int:
        """Queries that brought an answer."""
        return self._answered_queries

    @property
    def unanswered_queries(self) -> int:
        """Queries that brought no answer."""
        return self._unanswered_queries

    def scores(self, labels: Labels) -> NDArray[np.float32] | None:
        """The labels as float32 [N, A], waiting at most until their query's deadline.

        Returns:
            None where there is no answer.

        Raises:
            TeacherRejected: the teacher does not take this game's states: retrying is pointless.
        """
        if not isinstance(labels, Future):
            return labels
        try:
            answer = labels.result()
        except TeacherRejected:
            raise
        except TeacherError as error:
            self.note_unanswered(error)
            return None
        self.note_answered()
        return answer.action_values

    def note_answered(self) -> None:
        """Count a query that was answered."""
        self._answered_queries += 1

    def note_unanswered(self, error: TeacherError) -> None:
        """Count a query that was not, and log it every few seconds."""
        self._unanswered_queries += 1
        if self._should_log():
            logging.getLogger(__name__).warning(
                "%d queries without the teacher's answer so far: %s",
                self._unanswered_queries,
                error,
            )
