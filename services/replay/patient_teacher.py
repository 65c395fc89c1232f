"""The teacher's scores of recorded states: a teacher that is away is waited for.

Unlike an actor, which must not be held up, the import of recorded data has time and no second
chance: a state without its answer would go without for the whole run.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from rrl_client import (
    ClientSecurity,
    Priority,
    TeacherAnswer,
    TeacherClient,
    TeacherDescription,
    TeacherError,
    TeacherRejected,
    TeacherUnavailable,
)
from services.shared.errors import UserError

_RETRY_SECONDS = 1.0
_LOG_PERIOD_SECONDS = 10.0


class AskingStopped(Exception):
    """Asked to stop while waiting for the teacher."""


class PatientTeacher:
    """Asks a teacher service until it answers; a context manager.

    Args:
        address: "host:port" of the service.
        stop: Ends every wait with `AskingStopped`.
        timeout_seconds: Deadline of one query, after which it is sent again.
        security: What to trust and show; None for plaintext without a token.
    """

    def __init__(
        self,
        address: str,
        stop: threading.Event,
        *,
        timeout_seconds: float,
        security: ClientSecurity | None = None,
    ) -> None:
        self._client = TeacherClient(
            address, timeout_seconds=timeout_seconds, priority=Priority.LABELLING, security=security
        )
        self._stop = stop
        self._version: str | None = None
        self._logged_at = -_LOG_PERIOD_SECONDS

    def __enter__(self) -> PatientTeacher:
        """Returns itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Closes the connection."""
        self._client.close()

    def wait_until_ready(self) -> TeacherDescription:
        """Wait for the service.

        Returns:
            What it serves; every later answer must come from the same parameters.

        Raises:
            AskingStopped: asked to stop meanwhile.
            UserError: what answers is no teacher service.
        """
        while True:
            try:
                description = self._client.wait_until_ready(_RETRY_SECONDS)
            except TeacherUnavailable as error:
                self.wait_after(error)
            except TeacherError as error:
                raise UserError(str(error)) from error
            else:
                self._version = description.teacher_version
                return description

    def ask(self, observations: NDArray[np.uint8]) -> PatientAnswer:
        """Send a query and go on.

        Args:
            observations: uint8 [B, H, W, stack].
        """
        return PatientAnswer(self, observations)

    def send(self, observations: NDArray[np.uint8]) -> Future[TeacherAnswer]:
        """One attempt.

        Raises:
            UserError: the teacher does not take these states.
        """
        try:
            return self._client.evaluate_future(observations)
        except TeacherRejected as error:
            raise UserError(f"the teacher refuses the recorded states: {error}") from error

    def take(self, future: Future[TeacherAnswer]) -> NDArray[np.float32] | None:
        """An attempt's answer, float32 [B, A]; None when there was none and it is to be repeated.

        Raises:
            AskingStopped: asked to stop meanwhile.
            UserError: the teacher refuses these states, or is another than before.
        """
        try:
            answer = future.result()
        except TeacherRejected as error:
            raise UserError(f"the teacher refuses the recorded states: {error}") from error
        except TeacherError as error:
            self.wait_after(error)
            return None
        if answer.teacher_version != self._version:
            raise UserError(
                f"the teacher service changed its teacher from {self._version} to "
                f"{answer.teacher_version} while recorded data was being labelled; serve the "
                "teacher of this run and start again"
            )
        return answer.action_values

    def wait_after(self, error: TeacherError) -> None:
        """Say why there is no answer, now and then, and wait a little.

        Raises:
            AskingStopped: asked to stop meanwhile.
        """
        if time.monotonic() - self._logged_at >= _LOG_PERIOD_SECONDS:
            self._logged_at = time.monotonic()
            logging.getLogger(__name__).warning("waiting for the teacher: %s", error)
        if self._stop.wait(_RETRY_SECONDS):
            raise AskingStopped("stopped while waiting for the teacher")


class PatientAnswer:
    """A query under way.

    Args:
        teacher: Whom to ask.
        observations: uint8 [B, H, W, stack]; kept until there is an answer.
    """

    def __init__(self, teacher: PatientTeacher, observations: NDArray[np.uint8]) -> None:
        self._teacher = teacher
        self._observations = observations
        self._future = teacher.send(observations)

    def result(self) -> NDArray[np.float32]:
        """The scores, float32 [B, A], however long it takes.

        Raises:
            AskingStopped: asked to stop meanwhile.
            UserError: the teacher refuses these states, or is another than before.
        """
        while True:
            scores = self._teacher.take(self._future)
            if scores is not None:
                return scores
            self._future = self._teacher.send(self._observations)
