"""Client of the teacher service; needs grpcio, protobuf and numpy only.

    with TeacherClient("127.0.0.1:50051") as teacher:
        answer = teacher.evaluate(observations)          # uint8 [B, 84, 84, 4]
        actions = answer.action_values.argmax(axis=1)    # float32 [B, A]

Every call has a deadline, and every failure is a `TeacherError` of one of these kinds:

    TeacherRejected     the request is wrong (shape, dtype, rows): mend it, do not repeat it
    TeacherOverloaded   the teacher's queue is full: send less, or later, or go without
    TeacherTimeout      no answer before the deadline: allow more, or go without
    TeacherUnavailable  nobody there, warming up or draining: wait, or check the address
    TeacherFailed       anything else, e.g. an answer that does not fit the question
"""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from protos.rrl.teacher.v1 import teacher_pb2, teacher_pb2_grpc
from services.teacher import codec
from services.teacher.codec import TeacherDescription

DEFAULT_TIMEOUT_SECONDS = 10.0

_REQUESTS_IN_FLIGHT = 2
_POLL_SECONDS = 0.1
# gRPC waits up to two minutes between attempts to connect; a restarted teacher is back sooner.
_CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A machine that vanished while a call is under way is noticed, not waited for.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class TeacherError(Exception):
    """The teacher gave no answer; the subclass says why, the message what to do."""


class TeacherRejected(TeacherError, ValueError):
    """The request itself is wrong; repeating it is pointless."""


class TeacherOverloaded(TeacherError):
    """The teacher's queue is full."""


class TeacherTimeout(TeacherError):
    """No answer came before the deadline."""


class TeacherUnavailable(TeacherError):
    """Nobody answers at the address, or the teacher is warming up or draining."""


class TeacherFailed(TeacherError):
    """The teacher broke, is no teacher, or its answer does not fit the request."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherAnswer:
    """Action values of a batch.

    Attributes:
        action_values: float32 [B, A].
        teacher_version: Content hash of the parameters that computed them.
    """

    action_values: NDArray[np.float32]
    teacher_version: str


class TeacherFuture:
    """An answer under way; safe to use from any thread."""

    def __init__(self, call: Any, rows: int, address: str) -> None:
        """Wrap a gRPC call future; made by `TeacherClient.evaluate_future`."""
        self._call = call
        self._rows = rows
        self._address = address

    def done(self) -> bool:
        """Whether `result` would return or raise at once."""
        return bool(self._call.done())

    def cancel(self) -> None:
        """Give the query up; the teacher does not compute what it has not begun."""
        self._call.cancel()

    def add_done_callback(self, callback: Callable[[TeacherFuture], object]) -> None:
        """Call `callback(self)` when done, on a gRPC thread (at once if done already)."""
        self._call.add_done_callback(lambda _: callback(self))

    def result(self) -> TeacherAnswer:
        """Wait for the answer, at most until the call's deadline.

        Raises:
            TeacherError: One of the kinds of this module.
        """
        try:
            message: teacher_pb2.EvaluateResponse = self._call.result()
        except grpc.FutureCancelledError as error:
            raise TeacherFailed("the query was cancelled on this side") from error
        except grpc.RpcError as error:
            raise _typed_error(error, self._address) from error
        try:
            values = codec.decode_action_values(message, self._rows)
        except ValueError as error:
            raise TeacherFailed(f"{self._address}: {error}; is it an rrl teacher?") from error
        return TeacherAnswer(action_values=values, teacher_version=message.teacher_version)


class TeacherClient:
    """Asks one teacher; safe to share between threads. A context manager."""

    def __init__(self, address: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        """Prepare to connect; nothing is sent yet.

        Args:
            address: "host:port" of the teacher.
            timeout_seconds: Deadline of every call that names none, above 0.
        """
        if not timeout_seconds > 0:
            raise ValueError(f"timeout_seconds is {timeout_seconds}; it must be above 0")
        self._address = address
        self._timeout_seconds = timeout_seconds
        self._channel = grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self._stub = teacher_pb2_grpc.TeacherStub(self._channel)
        self._description: TeacherDescription | None = None

    def __enter__(self) -> TeacherClient:
        """The client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; calls under way end as cancelled."""
        self._channel.close()

    def describe(self, *, timeout_seconds: float | None = None) -> TeacherDescription:
        """Ask what is served.

        Raises:
            TeacherError: One of the kinds of this module.
        """
        timeout = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        try:
            message = self._stub.Describe(teacher_pb2.DescribeRequest(), timeout=timeout)
        except grpc.RpcError as error:
            raise _typed_error(error, self._address) from error
        try:
            self._description = codec.decode_description(message)
        except ValueError as error:
            raise TeacherFailed(f"{self._address}: {error}; is it an rrl teacher?") from error
        return self._description

    def wait_until_ready(self, timeout_seconds: float) -> TeacherDescription:
        """Block until the teacher is there and warmed up.

        Raises:
            TeacherUnavailable: It was not within `timeout_seconds`.
            TeacherError: It is there, but wrong.
        """
        end = time.monotonic() + timeout_seconds
        while True:
            left = end - time.monotonic()
            try:
                return self.describe(timeout_seconds=max(min(left, self._timeout_seconds), 0.01))
            except (TeacherUnavailable, TeacherTimeout) as error:
                if left <= _POLL_SECONDS:
                    raise TeacherUnavailable(
                        f"no teacher was ready at {self._address} within {timeout_seconds:g} s; "
                        "start it with `rrl teacher serve`, or check the address"
                    ) from error
            time.sleep(_POLL_SECONDS)

    def evaluate(
        self, observations: NDArray[Any], *, timeout_seconds: float | None = None
    ) -> TeacherAnswer:
        """Action values of a batch of any size, sent in pieces that the teacher takes.

        Args:
            observations: [B, *observation_shape], B >= 1, in the dtype that `describe` states.
            timeout_seconds: Deadline of each piece; the client's when None.

        Raises:
            TeacherError: One of the kinds of this module; then no rows are returned at all.
        """
        description = self._description or self.describe(timeout_seconds=timeout_seconds)
        size = description.max_batch_rows
        pending: collections.deque[TeacherFuture] = collections.deque()
        answers: list[TeacherAnswer] = []
        # One piece travels while the one before it is computed.
        for start in range(0, max(len(observations), 1), size):
            if len(pending) == _REQUESTS_IN_FLIGHT:
                answers.append(pending.popleft().result())
            piece = observations[start : start + size]
            pending.append(self.evaluate_future(piece, timeout_seconds))
        answers.extend(future.result() for future in pending)
        return self._join(answers)

    def evaluate_future(
        self, observations: NDArray[Any], timeout_seconds: float | None = None
    ) -> TeacherFuture:
        """Send one request and return at once; for callers that go on meanwhile.

        Args:
            observations: [B, *observation_shape], 1 <= B <= the teacher's `max_batch_rows`.
            timeout_seconds: Deadline; the client's when None.

        Raises:
            TeacherRejected: The array cannot be sent at all. What only the teacher can judge
                comes from the future's `result`.
        """
        timeout = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        try:
            request = codec.encode_observations(observations)
        except ValueError as error:
            raise TeacherRejected(str(error)) from error
        call = self._stub.Evaluate.future(request, timeout=timeout)
        return TeacherFuture(call, len(observations), self._address)

    def _join(self, answers: list[TeacherAnswer]) -> TeacherAnswer:
        versions = {answer.teacher_version for answer in answers}
        if len(versions) > 1:
            raise TeacherFailed(
                f"the teacher at {self._address} changed during the call "
                f"({' and '.join(sorted(versions))}); ask again"
            )
        return TeacherAnswer(
            action_values=np.concatenate([answer.action_values for answer in answers]),
            teacher_version=versions.pop(),
        )


def _typed_error(error: grpc.RpcError, address: str) -> TeacherError:
    """The kind of a failed call; every message names the teacher and says what to do."""
    code: grpc.StatusCode = error.code()
    details = error.details() or "no details"
    if code == grpc.StatusCode.INVALID_ARGUMENT:
        return TeacherRejected(f"teacher at {address}: {details}")
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        # gRPC's own refusal of a message far beyond max_batch_rows; it is never read.
        return TeacherRejected(f"teacher at {address}: {details}; send fewer rows in one request")
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return TeacherOverloaded(
            f"teacher at {address} is full ({details}); send less at once, or try again later"
        )
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return TeacherTimeout(
            f"teacher at {address} did not answer in time; allow more time, or ask for fewer rows"
        )
    if code == grpc.StatusCode.UNAVAILABLE:
        return TeacherUnavailable(
            f"teacher at {address} is unavailable ({details}); check the address, or wait until "
            "it is ready"
        )
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return TeacherFailed(f"{address} answers, but serves no rrl.teacher.v1.Teacher")
    return TeacherFailed(f"teacher at {address} failed: {code.name}: {details}")
