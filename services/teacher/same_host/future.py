"""An answer of the same-host path that is under way."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rrl_client.requests import Refusal, RefusalCode
from services.teacher.same_host.turns import Baton

_GRACE_SECONDS = 0.05
"""How long after the deadline the server's own word on it is waited for."""


class SameHostAnswer(NamedTuple):
    """Action values of a query.

    Attributes:
        action_values: float32 [B, A], finite, the caller's own.
        teacher_version: Hash of the parameters that computed them.
        model_version: Number of the model's version that computed them.
    """

    action_values: NDArray[np.float32]
    teacher_version: str
    model_version: int


class Owner(Protocol):
    """The connection, as its futures see it."""

    def wait(self, future: SameHostFuture, end: float) -> None:
        """Return when the future is settled, or at `end` (seconds of `time.monotonic`)."""

    def poll(self, future: SameHostFuture) -> None:
        """Settle what has arrived, without waiting."""

    def abandon(self, future: SameHostFuture, refusal: Refusal) -> bool:
        """Settle a future with a refusal and cancel its query; False if it is settled already."""

    def call_when_settled(self, future: SameHostFuture, callback: Callback) -> None:
        """Arrange the call; at once where it is settled already."""


class SameHostFuture:
    """An answer under way; safe to use from any thread. Made by `SameHostConnection`.

    The attributes are the connection's, under its lock.

    Attributes:
        first: First row of the query, which is also its tag.
        rows: Its number of rows B.
        deadline: In seconds of `time.monotonic`.
        outcome: The answer or the refusal; None until it is settled.
        callbacks: To be called then.
        batons: Threads to be woken then.
    """

    __slots__ = ("_owner", "batons", "callbacks", "deadline", "first", "outcome", "rows")

    def __init__(self, owner: Owner, first: int, rows: int, deadline: float) -> None:
        self._owner = owner
        self.first = first
        self.rows = rows
        self.deadline = deadline
        self.outcome: SameHostAnswer | Refusal | None = None
        self.callbacks: list[Callback] = []
        self.batons: list[Baton] = []

    def done(self) -> bool:
        """Whether `result` would return or raise at once; reads what has arrived."""
        if self.outcome is None:
            self._owner.poll(self)
        return self.outcome is not None

    def result(self, timeout_seconds: float | None = None) -> SameHostAnswer:
        """Wait for the answer.

        Args:
            timeout_seconds: How long; None for the query's own deadline.

        Raises:
            Refusal: There is no answer: what the server says, DEADLINE_EXCEEDED when it says
                nothing in time, CANCELLED after `cancel`, UNAVAILABLE when the server is gone.
            TimeoutError: `timeout_seconds` passed before the deadline; the query goes on.
        """
        if self.outcome is None:
            end = self.deadline + _GRACE_SECONDS
            if timeout_seconds is not None:
                end = min(end, time.monotonic() + timeout_seconds)
            self._owner.wait(self, end)
            if self.outcome is None:
                self._give_up()
        if isinstance(self.outcome, SameHostAnswer):
            return self.outcome
        assert self.outcome is not None
        raise self.outcome

    def _give_up(self) -> None:
        if time.monotonic() < self.deadline:
            raise TimeoutError("the query is still under way")
        refusal = Refusal(RefusalCode.DEADLINE_EXCEEDED, "no answer before the deadline")
        self._owner.abandon(self, refusal)

    def cancel(self) -> bool:
        """Give the query up; the teacher does not compute what it has not begun.

        Returns:
            False when it is settled already.
        """
        refusal = Refusal(RefusalCode.CANCELLED, "the query was cancelled on this side")
        return self._owner.abandon(self, refusal)

    def add_done_callback(self, callback: Callback) -> None:
        """Call `callback(self)` when settled, at once if it is.

        Called from whichever thread reads the answer; it must not wait for other answers. Where
        nobody calls `process_ready` for the connection, the first callback starts a thread that
        reads.
        """
        self._owner.call_when_settled(self, callback)


Callback = Callable[[SameHostFuture], object]
