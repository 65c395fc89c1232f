"""The errors of teacher queries, the same for every client and transport.

    TeacherRejected         the request is wrong (shape, dtype, rows): fix it, do not retry
    TeacherNotFound         no such model, or not in the pinned version
    TeacherUnauthenticated  the token is missing or wrong
    TeacherOverloaded       the teacher's queue is full: send less, retry later, or do without
    TeacherTimeout          no answer before the deadline: allow more time, or do without
    TeacherUnavailable      unreachable, warming up or draining: wait, or check the address
    TeacherFailed           anything else, e.g. an answer that does not fit the query

All are `TeacherError`; every message names the teacher and says what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc

from rrl_client.forks import Forked, check_not_forked
from rrl_client.security import handshake_advice, refusal_advice

_PUSHBACK_KEY = "grpc-retry-pushback-ms"

# gRPC's words for a connected server whose health service says NOT_SERVING.
_NOT_HEALTHY = "backend unhealthy"

_REJECTING = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE)
_NOT_FOUND = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION)
_UNAUTHENTICATED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class TeacherError(Exception):
    """The teacher gave no answer; the subclass says why, the message what to do."""


class TeacherRejected(TeacherError, ValueError):
    """The request itself is wrong; retrying is pointless."""


class TeacherNotFound(TeacherError, LookupError):
    """The teacher does not have this model, or no longer has the pinned version."""


class TeacherUnauthenticated(TeacherError):
    """The bearer token or certificate is missing or wrong."""


class TeacherOverloaded(TeacherError):
    """The teacher's queue is full.

    Attributes:
        retry_after_seconds: When to retry; None if the teacher did not say.
    """

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class TeacherTimeout(TeacherError):
    """There was no answer before the deadline."""


class TeacherUnavailable(TeacherError):
    """No server answers at the address, or the teacher is warming up or draining.

    Attributes:
        details: The reason, without address and advice; empty if only the message has it.
    """

    details: str = ""


class TeacherFailed(TeacherError):
    """The teacher broke, is not a teacher, or its answer does not fit the request."""


def timed_out(address: str) -> TeacherTimeout:
    """The error of a query without an answer before its deadline."""
    return TeacherTimeout(
        f"teacher at {address} did not answer in time; allow more time, or ask for fewer rows"
    )


def cancelled() -> TeacherFailed:
    """The error of a query that the caller cancelled."""
    return TeacherFailed("the query was cancelled on this side")


def closed(address: str) -> TeacherFailed:
    """The error of a query after its client was closed."""
    return TeacherFailed(f"the client of the teacher at {address} was closed; make another one")


def other_loop(address: str) -> TeacherFailed:
    """The error of an asyncio client used outside its event loop."""
    return TeacherFailed(
        f"the client of the teacher at {address} is connected in another event loop; make an "
        "AsyncTeacherClient in each asyncio.run and close it there, or use a TeacherClient, which "
        "needs no loop"
    )


def no_teacher(address: str, error: ValueError) -> TeacherFailed:
    """The error of an answer that is not a teacher's."""
    return TeacherFailed(f"{address}: {error}; is it an rrl teacher?")


def changed_during_call(address: str, error: Exception) -> TeacherFailed:
    """The error of a batch that no single version answered."""
    return TeacherFailed(f"the teacher at {address} changed during the call ({error}); ask again")


def in_callback() -> TeacherFailed:
    """The error of a call that would block the thread that delivers its answer."""
    return TeacherFailed(
        "a query was made in a callback, on the thread that delivers answers, and would wait for "
        "itself; call it on another thread"
    )


def check_process(address: str) -> None:
    """Check that a client is used in the process that made it.

    Raises:
        TeacherFailed: This process was forked from one that has clients.
    """
    try:
        check_not_forked()
    except Forked as error:
        raise TeacherFailed(f"the teacher at {address} cannot be queried: {error}") from error


def unavailable(address: str, details: str) -> TeacherUnavailable:
    """The error of a query that reached no teacher."""
    advice = refusal_advice(details) or "check the address, or wait until it is ready"
    error = TeacherUnavailable(f"teacher at {address} is unavailable ({details}); {advice}")
    error.details = details
    return error


def not_ready(address: str, waited_seconds: float, last: TeacherError) -> TeacherUnavailable:
    """The error of a teacher that did not become ready.

    Args:
        address: The teacher's.
        waited_seconds: Time waited.
        last: Why it was not ready, if known.
    """
    advice = refusal_advice(str(last)) or (
        "start it with `rrl teacher serve`, or check the address"
    )
    return TeacherUnavailable(
        f"no teacher was ready at {address} within {waited_seconds:g} s; {advice}"
    )


def more_telling(earlier: TeacherError | None, newer: TeacherError) -> TeacherError:
    """The more informative of two failed attempts to reach a teacher.

    The newer one may have been cut off by the end of the wait, or be about another address of the
    name.
    """
    if earlier is not None and handshake_advice(str(newer)) is None:
        return earlier if handshake_advice(str(earlier)) is not None else newer
    return newer


def of_replicas(failures: Sequence[TeacherError]) -> TeacherError:
    """The error of a call that no replica answered: one that waiting cannot fix, or all."""
    passing = (TeacherUnavailable, TeacherTimeout)
    lasting = [error for error in failures if not isinstance(error, passing)]
    if lasting or len(failures) == 1:
        return [*lasting, *failures][0]
    return TeacherUnavailable("; ".join(map(str, failures)))


def overloaded(
    address: str, details: str, retry_after_seconds: float | None = None
) -> TeacherOverloaded:
    """The error of a query refused because the queue is full."""
    when = "later" if retry_after_seconds is None else f"in {retry_after_seconds:.3g} s"
    return TeacherOverloaded(
        f"teacher at {address} is full ({details}); send less at once, or try again {when}",
        retry_after_seconds,
    )


def error_of_code(
    code: int, details: str, address: str, retry_after_seconds: float | None = None
) -> TeacherError:
    """The error for a gRPC status.

    Args:
        code: Number of the gRPC status.
        details: The teacher's message.
        address: The teacher's.
        retry_after_seconds: The teacher's retry delay.
    """
    status = _CODES.get(code, grpc.StatusCode.UNKNOWN)
    if status in _REJECTING:
        return TeacherRejected(f"teacher at {address}: {details}")
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED and is_too_large(details):
        # gRPC refuses a message beyond the limit unread.
        return TeacherRejected(f"teacher at {address}: {details}; send fewer rows in one request")
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return overloaded(address, details, retry_after_seconds)
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return timed_out(address)
    if status is grpc.StatusCode.UNAVAILABLE:
        is_there = _NOT_HEALTHY in details
        return unavailable(address, "it is warming up or draining" if is_there else details)
    if status in _NOT_FOUND:
        return TeacherNotFound(
            f"teacher at {address}: {details}; `rrl teacher query` shows what is served"
        )
    if status in _UNAUTHENTICATED:
        return TeacherUnauthenticated(
            f"teacher at {address}: {details}; give the client the token or certificate that the "
            "teacher was started with (ClientSecurity)"
        )
    if status is grpc.StatusCode.UNIMPLEMENTED:
        return TeacherFailed(
            f"{address} answers, but serves no rrl.teacher.v1.Teacher; check the address"
        )
    if status is grpc.StatusCode.CANCELLED:
        # Cancellation by the caller is handled elsewhere: here the server closed the call.
        return unavailable(address, f"it stopped during the query: {details}")
    return TeacherFailed(f"teacher at {address} failed: {status.name}: {details}")


def error_of_call(error: grpc.RpcError, address: str) -> TeacherError:
    """The error for a failed gRPC call."""
    metadata: Any = error.trailing_metadata() or ()
    pushback = next((value for key, value in metadata if key == _PUSHBACK_KEY), None)
    is_number = isinstance(pushback, str) and pushback.isascii() and pushback.isdigit()
    return error_of_code(
        error.code().value[0],
        error.details() or "no details",
        address,
        int(str(pushback)[:9]) / 1000 if is_number else None,
    )


def error_of_stream(error: grpc.RpcError, address: str) -> TeacherError:
    """Why a stream ended: `TeacherUnavailable` if reopening it may help.

    A connection that breaks shows as one of several codes (UNAVAILABLE, UNKNOWN, INTERNAL,
    CANCELLED), depending on where it broke.
    """
    found = error_of_call(error, address)
    lasting = (TeacherRejected, TeacherNotFound, TeacherUnauthenticated)
    if isinstance(found, lasting) or error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return found
    if isinstance(found, TeacherUnavailable):
        return found
    return unavailable(address, f"{error.code().name}: {error.details() or 'no details'}")


def is_too_large(details: str) -> bool:
    """Whether gRPC itself refused a message for its size."""
    return "larger than max" in details
