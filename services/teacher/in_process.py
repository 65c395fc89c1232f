"""A teacher in the caller's thread, for a run in one process."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_client import TeacherAnswer, TeacherDescription
from services.shared.errors import UserError
from services.teacher.policies.interface import Policy
from services.teacher.policies.loading import load_policy

_MOST_ROWS = 128
"""Rows of the largest worthwhile batch."""


class TeacherInProcess:
    """One policy, with the interface of `TeacherClient`.

    Args:
        reference: The teacher, as for `services.library.teacher_references.open_reference`.

    Attributes:
        described: Description of the teacher.

    Raises:
        UserError: there is no such teacher, or it cannot be used.
    """

    def __init__(self, reference: str) -> None:
        # Choosing a backend takes longer than a short run gains from it.
        self._policy: Policy = load_policy(reference, backend="jax", buckets=(_MOST_ROWS,))
        info = self._policy.info
        self.described = TeacherDescription(
            game=info.game,
            name=info.name,
            spec=info.spec,
            teacher_version=info.version,
            max_batch_rows=_MOST_ROWS,
            backend=self._policy.backend,
            card=info.card,
        )

    def scores(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Scores float32 [B, A] of [B, *observation_shape].

        Raises:
            UserError: the policy fails.
        """
        try:
            return self._policy.evaluate(observations)
        except Exception as error:
            raise UserError(
                f"the teacher ({self.described.name}) failed on a batch of {len(observations)} "
                f"states ({type(error).__name__}: {error})"
            ) from error

    def evaluate(self, observations: NDArray[Any]) -> TeacherAnswer:
        """Like `TeacherClient.evaluate`; raises like `scores`."""
        return TeacherAnswer(
            action_values=self.scores(observations), teacher_version=self.described.teacher_version
        )

    def evaluate_future(self, observations: NDArray[Any]) -> Future[TeacherAnswer]:
        """Like `TeacherClient.evaluate_future`, already answered; raises like `scores`."""
        answered: Future[TeacherAnswer] = Future()
        answered.set_result(self.evaluate(observations))
        return answered
