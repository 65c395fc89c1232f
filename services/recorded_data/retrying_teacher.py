"""The teacher's scores of recorded states; queries without an answer are retried.

Unlike an actor, which must not wait, a pass over recorded data can wait, and must: a state without
an answer would have none for the whole run.

    ask(states) ──▶ a thread per query ──▶ TeacherClient.evaluate
                       ▲     │ TeacherError: wait and retry; no answer for too long: UserError
                       └─────┘ TeacherRejected, another version: UserError; stop: Stopped
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

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
from services.recorded_data.labelling import QUERIES_AHEAD
from services.shared.errors import UserError
from services.shared.logging import Occasionally

_RETRY_SECONDS = 1.0
_LOG_PERIOD_SECONDS = 10.0


class Stopped(Exception):
    """`stop` was set while the caller waited."""


class RetryingTeacherClient:
    """Retries each query to a teacher service until it is answered; a context manager.

    Args:
        address: "host:port" of the service.
        timeout_seconds: Deadline of one attempt.
        security: TLS and credentials; None for plaintext without a token.
        stop: Ends every wait with `Stopped`; None for never.
        give_up_seconds: Time after which a failing query ends the pass; None retries forever.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_seconds: float,
        security: ClientSecurity | None = None,
        stop: threading.Event | None = None,
        give_up_seconds: float | None = None,
    ) -> None:
        self._client = TeacherClient(
            address, timeout_seconds=timeout_seconds, priority=Priority.LABELLING, security=security
        )
        self._stop = stop or threading.Event()
        self._give_up_seconds = give_up_seconds
        self._is_closed = False
        self._threads = ThreadPoolExecutor(QUERIES_AHEAD, "teacher-query")
        self._version: str | None = None
        self._should_log = Occasionally(_LOG_PERIOD_SECONDS)

    def __enter__(self) -> RetryingTeacherClient:
        """Returns itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Cancels the queries in flight and closes the connection."""
        self._is_closed = True
        self._client.close()
        self._threads.shutdown(cancel_futures=True)

    def describe(self) -> TeacherDescription:
        """Describe the service's teacher; every later answer must come from the same parameters.

        Raises:
            TeacherError: The service does not answer.
        """
        return self._noted(self._client.describe())

    def wait_until_ready(self) -> TeacherDescription:
        """Wait for the service, without a limit; returns what `describe` does.

        Raises:
            Stopped: `stop` was set.
            UserError: The answer is not from a teacher service.
        """
        while True:
            try:
                return self._noted(self._client.wait_until_ready(_RETRY_SECONDS))
            except TeacherUnavailable as error:
                self._wait_after(error)
            except TeacherError as error:
                raise UserError(str(error)) from error

    def ask(self, states: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        """Send a query and return; `labelling.Ask`.

        Args:
            states: uint8 [B, H, W, stack]; must not change.

        Returns:
            The scores, float32 [B, A]. Its `result` raises Stopped after `stop`, and UserError if
            the teacher refuses these states, has changed, or gave no answer for too long.
        """
        return self._threads.submit(self._scores, states)

    def _noted(self, description: TeacherDescription) -> TeacherDescription:
        self._version = description.teacher_version
        return description

    def _scores(self, states: NDArray[np.uint8]) -> NDArray[np.float32]:
        began = time.monotonic()
        while True:
            try:
                return self._checked(self._client.evaluate(states))
            except TeacherRejected as error:
                raise UserError(f"the teacher refuses the recorded states: {error}") from error
            except TeacherError as error:
                waited = time.monotonic() - began
                if self._give_up_seconds is not None and waited >= self._give_up_seconds:
                    raise UserError(str(error)) from error
                self._wait_after(error)

    def _checked(self, answer: TeacherAnswer) -> NDArray[np.float32]:
        if answer.teacher_version != self._version:
            raise UserError(
                f"the teacher service changed its teacher from {self._version} to "
                f"{answer.teacher_version} while recorded data was being labelled; serve the "
                "first one and start again"
            )
        return answer.action_values

    def _wait_after(self, error: TeacherError) -> None:
        """Log the failure, at a limited rate, and wait before the next attempt.

        Raises:
            Stopped: `stop` was set, or the client was closed.
        """
        if not self._is_closed and self._should_log():
            logging.getLogger(__name__).warning("waiting for the teacher: %s", error)
        if self._stop.wait(_RETRY_SECONDS) or self._is_closed:
            raise Stopped("stopped while waiting for the teacher")
