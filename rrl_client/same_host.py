"""A synchronous client's use of the same-host path: finding it, leaving it, coming back to it.

The teacher's Describe says where its socket is. When that path breaks, queries under way are asked
again over gRPC, later ones go there at once, and the teacher is described again from time to time
until its successor offers the path, too.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from rrl_client import codec
from rrl_client import errors as client_errors
from rrl_client.answers import (
    PIECES_UNDER_WAY,
    TeacherAnswer,
    TeacherFuture,
    call_back,
)
from rrl_client.channel import backoff_seconds
from rrl_client.codec import SameHostAddress, TeacherDescription
from rrl_client.errors import TeacherError, TeacherRejected
from rrl_client.requests import Priority, Refusal, RefusalCode
from rrl_client.settings import ClientSettings
from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc
from services.teacher.same_host import host, region
from services.teacher.same_host.connection import Reservation, SameHostConnection
from services.teacher.same_host.future import SameHostAnswer, SameHostFuture

ROWS = 512
"""Rows of shared memory to ask for; what the teacher grants may be less."""

_LOG = logging.getLogger(__name__)
_CONNECT_SECONDS = 1.0
RETURN_SECONDS = 1.0
DESCRIBE_SECONDS = 5.0

FutureKind = TypeVar("FutureKind")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecondAttempts(Generic[FutureKind]):
    """How the same observations are asked for again.

    Attributes:
        made: Attempts so far, with the one under way.
        when_lost: After the path broke, over gRPC; None where nothing else may be used.
        when_full: After the teacher had no room; None where the caller is to hear of that.
    """

    made: int
    when_lost: Callable[[NDArray[Any]], FutureKind] | None
    when_full: Callable[[NDArray[Any]], FutureKind] | None


def is_lost(outcome: SameHostAnswer | Refusal | None) -> bool:
    """Whether a query has no answer because the path broke or the teacher goes."""
    return isinstance(outcome, Refusal) and outcome.code is RefusalCode.UNAVAILABLE


def wait_when_full(refusal: Refusal, deadline: float, attempt: int) -> float | None:
    """How long to wait for room before asking again, in seconds; None if that is no use."""
    after = backoff_seconds(attempt, refusal.retry_after_seconds)
    is_full = refusal.code is RefusalCode.RESOURCE_EXHAUSTED
    return after if is_full and time.monotonic() + after < deadline else None


def usable_address(description: TeacherDescription) -> SameHostAddress | None:
    """Where the teacher's shared memory is found, if it runs on this host and offers any."""
    address = description.same_host
    if address is None or not host.is_this_host(address.host_id) or not region.available():
        return None
    return address


def connect(
    address: SameHostAddress, settings: ClientSettings, *, is_watched: bool
) -> SameHostConnection | None:
    """Connect; None where it fails, which is logged: the other transports remain.

    Args:
        address: From Describe.
        settings: Model and version to ask for.
        is_watched: Whether an event loop reads the answers.
    """
    try:
        return SameHostConnection(
            address.socket_path,
            address.ticket,
            model=settings.model,
            version=settings.version,
            rows=ROWS,
            is_watched=is_watched,
            connect_timeout_seconds=_CONNECT_SECONDS,
        )
    except (Refusal, ValueError, OSError) as error:
        _LOG.info("no shared memory with the teacher at %s (%s); using gRPC", settings.name, error)
        return None


def reserve(
    connection: SameHostConnection, observations: NDArray[Any], timeout_seconds: float
) -> Reservation:
    """Copy observations into free rows of a connection.

    Raises:
        TeacherRejected: They are not what this teacher takes, or more than there are rows.
        Refusal: No rows were free in time, or the connection is lost.
    """
    layout = connection.layout
    shape, dtype = observations.shape[1:], observations.dtype
    if observations.shape == layout.observation_shape:
        raise TeacherRejected(codec.one_observation(layout.observation_shape))
    if shape != layout.observation_shape or dtype != layout.observation_dtype:
        raise TeacherRejected(
            f"observations are {dtype.name} of shape {shape}; this teacher takes "
            f"{layout.observation_dtype} of shape {layout.observation_shape}"
        )
    rows = len(observations)
    if not 1 <= rows <= layout.rows:
        raise TeacherRejected(
            f"observations have {rows} rows; send 1 to {layout.rows} at once to this teacher"
        )
    reservation = connection.reserve(rows, timeout_seconds)
    reservation.observations[...] = observations
    return reservation


def piece_rows(connection: SameHostConnection | None, rows: int) -> int:
    """Rows of the pieces of a batch: so few that several fit the shared memory at once."""
    if connection is None:
        return rows
    return max(min(rows, connection.layout.rows // PIECES_UNDER_WAY), 1)


def answer_of(answer: SameHostAnswer) -> TeacherAnswer:
    """The answer as callers see it."""
    return TeacherAnswer(
        action_values=answer.action_values,
        teacher_version=answer.teacher_version,
        model_version=answer.model_version,
    )


def error_of(refusal: Refusal, address: str) -> TeacherError:
    """The error as callers see it."""
    if refusal.code is RefusalCode.CANCELLED:
        return client_errors.cancelled()
    return client_errors.error_of_code(
        refusal.code, str(refusal), address, refusal.retry_after_seconds
    )


class SameHostPath:
    """The shared memory of one client, while there is any; safe to share between threads."""

    def __init__(self, settings: ClientSettings, stub: teacher_pb2_grpc.TeacherStub) -> None:
        """Begin without; `offer` connects.

        Args:
            settings: The client's.
            stub: To describe the teacher again with.
        """
        self._settings = settings
        self._stub = stub
        self._lock = threading.Lock()
        self._connection: SameHostConnection | None = None
        self._is_closed = False
        # When to look for the path by ourselves; None while there is nothing to find.
        self._look_at: float | None = 0.0

    @property
    def name(self) -> str:
        """Whom errors name."""
        return self._settings.name

    @property
    def connection(self) -> SameHostConnection | None:
        """What to ask now; None while the path is not there."""
        self.leave_if_lost()
        connection = self._connection
        is_due = self._look_at is not None and time.monotonic() >= self._look_at
        if connection is None and is_due:
            self._look()
        return connection

    def leave_if_lost(self) -> None:
        """Give a connection up that has ended, and say so."""
        connection = self._connection
        if connection is not None and connection.closed:
            self._lost(connection)

    def offer(self, description: TeacherDescription) -> None:
        """Connect to where a description says, if it says so and there is no connection."""
        address = usable_address(description)
        with self._lock:
            if self._is_closed or (self._connection is not None and not self._connection.closed):
                return
            made = None if address is None else connect(address, self._settings, is_watched=False)
            self._connection = made
            is_worth_another_look = address is not None and made is None
            self._look_at = time.monotonic() + DESCRIBE_SECONDS if is_worth_another_look else None

    def close(self) -> None:
        """End it; queries under way fail."""
        with self._lock:
            self._is_closed = True
            connection, self._connection = self._connection, None
            self._look_at = None
        if connection is not None:
            connection.close()

    def submit(
        self,
        observations: NDArray[Any],
        deadline: float,
        priority: Priority,
        attempts: SecondAttempts[TeacherFuture],
        *,
        is_awaited: bool,
    ) -> TeacherFuture | None:
        """Ask over shared memory; None while the path is not there.

        Args:
            observations: [B, *observation_shape].
            deadline: In seconds of `time.monotonic`.
            priority: What it is for.
            attempts: What to do with what is left unanswered.
            is_awaited: Whether the array stays as it is until the answer is there; else it is
                copied for those attempts.

        Raises:
            TeacherError: The observations do not fit, or no rows were free before the deadline.
        """
        connection = self.connection
        if connection is None:
            return None
        try:
            reservation = reserve(connection, observations, deadline - time.monotonic())
            inner = connection.submit_reserved(
                reservation, max(deadline - time.monotonic(), 0.001), priority
            )
        except Refusal as refusal:
            if refusal.code is RefusalCode.UNAVAILABLE:
                return None
            raise error_of(refusal, self._settings.name) from refusal
        kept = observations if is_awaited else observations.copy()
        return _Future(inner, kept, attempts, self)

    def _lost(self, connection: SameHostConnection) -> None:
        with self._lock:
            if self._connection is not connection or self._is_closed:
                return
            self._connection = None
            self._look_at = time.monotonic() + RETURN_SECONDS
        connection.close()
        _LOG.warning(
            "shared memory with the teacher at %s was lost; using gRPC until it is back",
            self._settings.name,
        )

    def _look(self) -> None:
        """Describe the teacher in the background; its answer brings the path back."""
        with self._lock:
            if self._look_at is None or time.monotonic() < self._look_at:
                return
            self._look_at = time.monotonic() + DESCRIBE_SECONDS
        settings = self._settings
        request = teacher_pb2.DescribeRequest(model=settings.model, version=settings.version)
        call = self._stub.Describe.future(request, timeout=DESCRIBE_SECONDS)
        call.add_done_callback(self._described)

    def _described(self, call: Any) -> None:
        if call.cancelled() or call.exception() is not None:
            with self._lock:
                self._look_at = time.monotonic() + RETURN_SECONDS
            return
        try:
            self.offer(codec.decode_description(call.result()))
        except ValueError as error:
            _LOG.warning("the teacher at %s: %s", self._settings.name, error)


class _Future(TeacherFuture):
    """An answer that comes over shared memory or, if that breaks, over gRPC after all."""

    def __init__(
        self,
        inner: SameHostFuture,
        observations: NDArray[Any],
        attempts: SecondAttempts[TeacherFuture],
        path: SameHostPath,
    ) -> None:
        # Not a view of the shared memory: once the teacher refused a query, others use its rows.
        self._inner = inner
        self._observations = observations
        self._attempts = attempts
        self._path = path
        self._second: TeacherFuture | None = None
        self._switching = threading.Lock()

    def done(self) -> bool:
        """Whether `result` would return or raise at once."""
        if not self._inner.done():
            return False
        second = self._asked_again()
        return second is None or second.done()

    def cancel(self) -> None:
        """Give the query up; the teacher does not compute what it has not begun."""
        self._inner.cancel()
        if self._second is not None:
            self._second.cancel()

    def add_done_callback(self, callback: Callable[[TeacherFuture], object]) -> None:
        """Call `callback(self)` when done, on a thread of the client's, or at once if done."""

        def settled(_: SameHostFuture) -> None:
            second = self._asked_again()
            if second is None:
                call_back(callback, self)
            else:
                second.add_done_callback(lambda _: callback(self))

        self._inner.add_done_callback(settled)

    def result(self) -> TeacherAnswer:
        """Wait for the answer, at most until the query's deadline.

        Raises:
            TeacherError: One of the kinds of `client_errors`.
        """
        try:
            return answer_of(self._inner.result())
        except Refusal as refusal:
            second = self._asked_again() or self._asked_when_there_is_room(refusal)
            if second is None:
                raise error_of(refusal, self._path.name) from refusal
        return second.result()

    def _asked_again(self) -> TeacherFuture | None:
        """The second attempt, begun if the path broke and the answer did not come over it."""
        if self._attempts.when_lost is None or not is_lost(self._inner.outcome):
            return None
        with self._switching:
            if self._second is None:
                self._path.leave_if_lost()
                self._second = self._attempts.when_lost(self._observations)
            return self._second

    def _asked_when_there_is_room(self, refusal: Refusal) -> TeacherFuture | None:
        after = wait_when_full(refusal, self._inner.deadline, self._attempts.made)
        if self._attempts.when_full is None or after is None:
            return None
        time.sleep(after)
        return self._attempts.when_full(self._observations)
