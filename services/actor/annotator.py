"""The teacher's action values for states on their way into replay, asked for behind acting.

A query never holds an actor up and never loses a state: it is sent while the environments step on,
has a deadline, and a state without an answer is stored without a label, which the distillation loss
masks out.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from rrl_client import TeacherAnswer, TeacherError, TeacherRejected

Labels = NDArray[np.float32] | Future[TeacherAnswer] | None
"""Action values of N states: float32 [N, A], an answer under way, or nobody was asked."""

_LOG_PERIOD_SECONDS = 10.0


def is_settled(labels: Labels) -> bool:
    """Whether looking at the labels would not have to wait."""
    return not isinstance(labels, Future) or labels.done()


class Annotator:
    """Takes the teacher's answers in, and notes the ones that did not come."""

    def __init__(self) -> None:
        self._answered_queries = self._unanswered_queries = 0
        self._logged_at = -_LOG_PERIOD_SECONDS

    @property
    def answered_queries(self) -> int:
        """Queries that brought an answer."""
        return self._answered_queries

    @property
    def unanswered_queries(self) -> int:
        """Queries that brought no answer."""
        return self._unanswered_queries

    def values(self, labels: Labels) -> NDArray[np.float32] | None:
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
        """Count a query that was not, and log it now and then."""
        self._unanswered_queries += 1
        self._log(error)

    def _log(self, error: TeacherError) -> None:
        # A teacher that is away fails every query: one line says as much as a thousand.
        if time.monotonic() - self._logged_at < _LOG_PERIOD_SECONDS:
            return
        self._logged_at = time.monotonic()
        logging.getLogger(__name__).warning(
            "%d queries without the teacher's answer so far: %s", self._unanswered_queries, error
        )
