"""A teacher in a running service: its card, and its scores for a run in one process."""

from __future__ import annotations

import dataclasses
import re
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.teacher_card import MAX_CARD_BYTES, UNKNOWN_GAME, TeacherCard
from rrl_client import (
    ClientSecurity,
    Priority,
    TeacherAnswer,
    TeacherClient,
    TeacherDescription,
    TeacherError,
)
from services.recorded_data.retrying_teacher import Stopped
from services.shared.errors import UserError, quoted, user_errors

_READY_SECONDS = 30.0
_TIMEOUT_SECONDS = 60.0
"""Timeout of a query: how long the service may be unavailable before a run in one process ends."""

_LOOK_SECONDS = 0.2
"""Time between checks whether to stop, while a query waits."""

_HASH_DIGITS = 64


class TeacherLost(UserError):
    """The service no longer answers, or answers with other parameters."""


class ServedTeacher:
    """A teacher service with the interface of `TeacherInProcess`.

    Args:
        address: Address of the service, as for `TeacherClient`.
        security: TLS and credentials for it; None for plaintext without a token.
        priority: Priority of its queries.
        stop: Ends a query in flight with `Stopped`, and closes the connection; None for never.

    Attributes:
        described: Description of the teacher.

    Raises:
        UserError: no teacher answers, or the address is invalid.
    """

    def __init__(
        self,
        address: str,
        security: ClientSecurity | None = None,
        priority: Priority = Priority.ACTING,
        stop: threading.Event | None = None,
    ) -> None:
        self._stop = stop or threading.Event()
        self._thread = ThreadPoolExecutor(1, "teacher-query")
        with user_errors((TeacherError, ValueError)):
            self._client = TeacherClient(
                address, timeout_seconds=_TIMEOUT_SECONDS, priority=priority, security=security
            )
            self.described = self._client.wait_until_ready(_READY_SECONDS)

    def evaluate(self, observations: NDArray[Any]) -> TeacherAnswer:
        """Like `TeacherClient.evaluate`.

        Raises:
            TeacherLost: the teacher does not answer, or its parameters have changed.
            Stopped: `stop` was set before it answered.
        """
        asked = self._thread.submit(self._client.evaluate, observations)
        while not wait([asked], _LOOK_SECONDS).done:
            if self._stop.is_set():
                self._client.close()
                raise Stopped("stopped while waiting for the teacher")
        try:
            answer = asked.result()
        except TeacherError as error:
            raise TeacherLost(str(error)) from error
        if answer.teacher_version != self.described.teacher_version:
            raise TeacherLost(
                f"the service answers with {answer.teacher_version} now, and began with "
                f"{self.described.teacher_version}; serve the first one again"
            )
        return answer

    def evaluate_future(self, observations: NDArray[Any]) -> Future[TeacherAnswer]:
        """Like `TeacherClient.evaluate_future`, already answered; raises like `evaluate`."""
        answered: Future[TeacherAnswer] = Future()
        answered.set_result(self.evaluate(observations))
        return answered

    def scores(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Scores float32 [B, A] of [B, *observation_shape]; raises as `evaluate`."""
        return self.evaluate(observations).action_values

    def close(self) -> None:
        """Close the connection; a query in flight fails."""
        self._client.close()
        self._thread.shutdown()


def card_of_service(address: str, security: ClientSecurity | None = None) -> TeacherCard:
    """The card of a service's teacher; arguments and errors as for `ServedTeacher`.

    Raises:
        UserError: also if its card is damaged.
    """
    teacher = ServedTeacher(address, security)
    teacher.close()
    with user_errors(prefix=f"the teacher at {address}: "):
        return described_card(teacher.described)


def described_card(described: TeacherDescription) -> TeacherCard:
    """The card that a service sends; without one, a card made from its description.

    Raises:
        ValueError: the card is damaged, or belongs to another teacher.
    """
    version = described.teacher_version
    if not described.card:
        # The importer of recorded data compares the prefix of the hash, all that is known.
        is_hash = re.fullmatch(f"[0-9a-f]{{1,{_HASH_DIGITS}}}", version) is not None
        if not is_hash:
            raise ValueError(f"its version is {quoted(version)}; it must be a hash in hex digits")
        return TeacherCard(
            **dataclasses.asdict(described.spec),
            name=described.name or described.model or version,
            game=described.game or UNKNOWN_GAME,
            network=None,
            observation_order="as the service takes it",
            made=f"served as version {version}, without a card",
            parameters_sha256=version.ljust(_HASH_DIGITS, "0"),
        )
    if len(described.card) > MAX_CARD_BYTES:
        raise ValueError(f"its card has more than {MAX_CARD_BYTES} bytes")
    card = TeacherCard.from_json(described.card)
    if card.spec != described.spec or not card.parameters_sha256.startswith(version):
        raise ValueError(
            f"its card is that of another teacher, {card.name} {card.parameters_sha256[:16]}, than "
            f"it serves, {version}"
        )
    return card
