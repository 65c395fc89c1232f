"""Synchronous client of the teacher service; needs grpcio, protobuf and numpy only.

    with TeacherClient("127.0.0.1:50051") as teacher:
        answer = teacher.evaluate(observations)          # uint8 [B, 84, 84, 4]
        actions = answer.action_values.argmax(axis=1)    # float32 [B, A]

Every call has a deadline, and every failure is a `TeacherError` of one of the kinds that
`rrl_client.errors` lists. Queries go over shared memory where the teacher runs on the
same host and offers it, else over one long-lived stream for each replica. What a broken connection
leaves unanswered is asked again until its deadline.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import grpc
import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl_client import channel as client_channel
from rrl_client import errors as client_errors
from rrl_client import same_host as client_same_host
from rrl_client import unary as client_unary
from rrl_client.answers import (
    PIECES_UNDER_WAY,
    SEEK_PAUSE_SECONDS,
    SEEK_SECONDS,
    FailedFuture,
    TeacherAnswer,
    TeacherFuture,
    VersionsDiffer,
    changed_during_call,
    cut,
    decode_description,
    encode_query,
    join,
    piece_rows,
)
from rrl_client.codec import TeacherDescription
from rrl_client.errors import (
    TeacherError,
    TeacherFailed,
    TeacherNotFound,
    TeacherOverloaded,
    TeacherRejected,
    TeacherTimeout,
    TeacherUnauthenticated,
    TeacherUnavailable,
)
from rrl_client.forks import is_forked
from rrl_client.observations import as_observations
from rrl_client.requests import Priority
from rrl_client.same_host import SameHostPath, SecondAttempts
from rrl_client.security import ClientSecurity, make_channel
from rrl_client.settings import (
    DEFAULT_TIMEOUT_SECONDS,
    ClientSettings,
    Transport,
)
from rrl_client.sharing import Sharing
from rrl_client.stream import StreamPool
from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc

__all__ = [
    "ClientSecurity",
    "Priority",
    "TeacherAnswer",
    "TeacherClient",
    "TeacherDescription",
    "TeacherError",
    "TeacherFailed",
    "TeacherFuture",
    "TeacherNotFound",
    "TeacherOverloaded",
    "TeacherRejected",
    "TeacherTimeout",
    "TeacherUnauthenticated",
    "TeacherUnavailable",
    "Transport",
]

_POLL_SECONDS = 0.1


class TeacherClient:
    """Asks one teacher, or its replicas; safe to share between threads. A context manager."""

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        model: str = "",
        version: str = "",
        priority: Priority = Priority.ACTING,
        transport: Transport = "auto",
        security: ClientSecurity | None = None,
    ) -> None:
        """Prepare to connect; nothing is sent yet.

        Args:
            addresses: "host:port", "unix:/path" or "dns:///name:port" of the teacher; several
                "host:port", with commas or as a sequence, for replicas of one teacher.
            timeout_seconds: Deadline of every call that names none, above 0.
            model: Name of the model; empty for the server's first.
            version: Version number or hash that must answer; empty for the newest.
            priority: What the queries are for.
            transport: How they travel. With "same_host" it is an error when there is no shared
                memory; "unary" has gRPC itself repeat and balance every query, and costs most.
            security: What to trust and show; None for plaintext without a token.

        Raises:
            ValueError: An argument is out of range, or a file of `security` cannot be used.
            TeacherFailed: This process was forked from one that has clients.
        """
        self._settings = settings = ClientSettings(
            addresses=client_channel.parse_addresses(addresses),
            timeout_seconds=timeout_seconds,
            model=model,
            version=version,
            priority=priority,
            transport=transport,
            security=security,
        )
        self._name = settings.name
        client_errors.check_process(self._name)
        connections = _SHARED.join(settings.shared_by, lambda: _Connections(settings))
        self._is_closed = False
        self._stub = connections.stub
        self._streams = connections.streams
        self._same_host = connections.same_host
        self._description: TeacherDescription | None = None
        self._described_at_break = 0

    def __enter__(self) -> TeacherClient:
        """The client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Leave the connections; queries under way fail when this was the last client on them."""
        # A forked child leaves the connections to its parent.
        if not self._is_closed and not is_forked():
            self._is_closed = True
            connections = _SHARED.leave(self._settings.shared_by)
            if connections is not None:
                connections.close()

    def describe(self, *, timeout_seconds: float | None = None) -> TeacherDescription:
        """Ask what is served; connects to the same-host path where the teacher offers it.

        Raises:
            TeacherError: One of the kinds of `client_errors`.
        """
        self._check_usable()
        timeout = self._settings.timeout(timeout_seconds)
        request = teacher_pb2.DescribeRequest(
            model=self._settings.model, version=self._settings.version
        )
        break_count = self._streams.break_count
        try:
            message = self._stub.Describe(request, timeout=timeout)
        except grpc.RpcError as error:
            raise client_errors.error_of_call(error, self._name) from error
        described = decode_description(message, self._name)
        self._streams.seen()
        self._streams.note_presence()
        if self._same_host is not None:
            self._same_host.offer(described)
        self._description, self._described_at_break = described, break_count
        return described

    def wait_until_ready(self, timeout_seconds: float) -> TeacherDescription:
        """Block until the teacher is there and warmed up.

        Raises:
            TeacherUnavailable: It was not within `timeout_seconds`.
            TeacherError: It is there, but wrong.
        """
        end = time.monotonic() + timeout_seconds
        telling: TeacherError | None = None
        while True:
            left = end - time.monotonic()
            try:
                return self.describe(
                    timeout_seconds=max(min(left, self._settings.timeout_seconds), 0.01)
                )
            except (TeacherUnavailable, TeacherTimeout) as error:
                telling = client_errors.more_telling(telling, error)
                if left <= _POLL_SECONDS:
                    raise client_errors.not_ready(self._name, timeout_seconds, telling) from error
            time.sleep(_POLL_SECONDS)

    def evaluate(
        self, observations: ArrayLike, *, timeout_seconds: float | None = None
    ) -> TeacherAnswer:
        """Action values of a batch of any size, sent in pieces that the teacher takes.

        All rows come from the same parameters: when new ones arrive in the middle, or replicas have
        different ones, the batch is asked again.

        Args:
            observations: [B, *observation_shape], B >= 1: an array in the dtype that `describe`
                states, or nested lists or an object with `__array__`, which are converted to it
                where it holds their numbers.
            timeout_seconds: Deadline of each piece; the client's when None.

        Raises:
            TeacherError: One of the kinds of `client_errors`; then no rows are returned at all.
        """
        self._check_usable()
        timeout = self._settings.timeout(timeout_seconds)
        about = self._about(timeout)
        pieces = cut(as_observations(observations, about), self._piece_rows(about))
        version = self._settings.version
        differ: VersionsDiffer | None = None
        for _ in range(client_channel.LARGEST_ATTEMPTS):
            try:
                return join(self._evaluate_pieces(pieces, timeout, version))
            except VersionsDiffer as error:
                differ = error
                # Shared memory belongs to a connection made for one version: no pinning there.
                if self._settings.transport != "same_host":
                    version = error.best
            except TeacherNotFound:
                if version == self._settings.version:
                    raise
                # Whoever had that version has gone meanwhile.
                version = self._settings.version
        assert differ is not None, "every other end of a round leaves the loop"
        raise changed_during_call(self._name, differ) from differ

    def evaluate_future(
        self, observations: ArrayLike, timeout_seconds: float | None = None
    ) -> TeacherFuture:
        """Send one request and return; for callers that go on meanwhile.

        It returns at once unless so many queries wait for the teacher already that it has to hold
        the caller up, at most until the deadline; or observations that are no array need the
        teacher's dtype, which it asks for once.

        Args:
            observations: [B, *observation_shape], 1 <= B <= the teacher's `max_batch_rows`; as of
                `evaluate`.
            timeout_seconds: Deadline; the client's when None.

        Raises:
            TeacherRejected: The array cannot be sent at all.
            TeacherFailed: The client was closed, or this process was forked from one that has
                clients. Every other error comes from the future's `result`.
        """
        self._check_usable()
        timeout = self._settings.timeout(timeout_seconds)
        deadline = time.monotonic() + timeout
        try:
            is_array = isinstance(observations, np.ndarray)
            about = self._newest_description() if is_array else self._about(timeout)
            array = as_observations(observations, about)
            return self._send(array, deadline, self._settings.version, is_awaited=False)
        except TeacherRejected:
            raise
        except TeacherError as error:
            return FailedFuture(error)

    def _check_usable(self) -> None:
        client_errors.check_process(self._name)
        if self._is_closed:
            raise client_errors.closed(self._name)

    def _newest_description(self) -> TeacherDescription | None:
        """What is known of the teacher, unless another one may have come since."""
        is_newest = self._described_at_break == self._streams.break_count
        return self._description if is_newest else None

    def _about(self, timeout: float) -> TeacherDescription:
        """The teacher's description, asked for where it may have changed."""
        newest = self._newest_description()
        if newest is not None:
            return newest
        try:
            return self.describe(timeout_seconds=timeout)
        except (TeacherUnavailable, TeacherTimeout):
            # It answered once and may be back before the deadline.
            if self._description is None:
                raise
            return self._description

    def _piece_rows(self, about: TeacherDescription) -> int:
        """Rows of one message."""
        connection = None if self._same_host is None else self._same_host.connection
        return client_same_host.piece_rows(connection, piece_rows(about))

    def _evaluate_pieces(
        self, pieces: Sequence[NDArray[Any]], timeout: float, version: str
    ) -> list[TeacherAnswer]:
        pending: collections.deque[tuple[TeacherFuture, NDArray[Any], float]] = collections.deque()
        answers: list[TeacherAnswer] = []
        try:
            for piece in pieces:
                if len(pending) == PIECES_UNDER_WAY:
                    answers.append(self._answer_to_piece(*pending.popleft(), version))
                deadline = time.monotonic() + timeout
                future = self._send(piece, deadline, version, is_awaited=True)
                pending.append((future, piece, deadline))
            while pending:
                answers.append(self._answer_to_piece(*pending.popleft(), version))
        finally:
            # After an error nobody wants the others.
            for future, _, _ in pending:
                future.cancel()
        return answers

    def _answer_to_piece(
        self, future: TeacherFuture, piece: NDArray[Any], deadline: float, version: str
    ) -> TeacherAnswer:
        """Wait for it; one of several replicas may have the version that other pieces came from."""
        end = min(deadline, time.monotonic() + SEEK_SECONDS)
        while True:
            try:
                return future.result()
            except TeacherNotFound:
                if version == self._settings.version or time.monotonic() >= end:
                    raise
            time.sleep(SEEK_PAUSE_SECONDS)
            future = self._send(piece, deadline, version, is_awaited=True)

    def _send(
        self,
        observations: NDArray[Any],
        deadline: float,
        version: str,
        *,
        is_awaited: bool,
        attempt: int = 1,
    ) -> TeacherFuture:
        def by_grpc(kept: NDArray[Any]) -> TeacherFuture:
            return self._send_by_grpc(kept, deadline, version)

        def again(kept: NDArray[Any]) -> TeacherFuture:
            return self._send(kept, deadline, version, is_awaited=True, attempt=attempt + 1)

        # A connection asks for the version it was made for.
        if self._same_host is None or version != self._settings.version:
            return by_grpc(observations)
        may_repeat = is_awaited and attempt < client_channel.LARGEST_ATTEMPTS
        attempts = SecondAttempts(
            made=attempt,
            when_lost=by_grpc if self._settings.transport == "auto" else None,
            when_full=again if may_repeat else None,
        )
        future = self._same_host.submit(
            observations, deadline, self._settings.priority, attempts, is_awaited=is_awaited
        )
        return by_grpc(observations) if future is None else future

    def _send_by_grpc(
        self, observations: NDArray[Any], deadline: float, version: str
    ) -> TeacherFuture:
        settings = self._settings
        if settings.transport == "same_host":
            return FailedFuture(client_errors.no_shared_memory(self._name))
        request = encode_query(observations, settings.model, version, settings.priority)
        if settings.transport == "unary":
            return client_unary.ask(self._stub, request, deadline, self._name)
        return self._streams.submit(request, len(observations), deadline)


class _Connections:
    """What clients share: a channel over all replicas, one for each stream, and shared memory."""

    def __init__(self, settings: ClientSettings) -> None:
        addresses = settings.addresses

        def make(target: str) -> grpc.Channel:
            options = client_channel.channel_options(target, addresses)
            return make_channel(target, settings.security, options)

        self._balanced = make(client_channel.balanced_target(addresses))
        # Only the replicas behind a name can become more.
        count = client_channel.counted(addresses)
        self._replicas = (
            [(addresses[0], self._balanced)] * (count() if count is not None else 1)
            if len(addresses) == 1
            else [(address, make(address)) for address in addresses]
        )
        self.stub = teacher_pb2_grpc.TeacherStub(self._balanced)
        self.streams = StreamPool(self._replicas, settings.name, count_replicas=count)
        self.same_host = SameHostPath(settings, self.stub) if settings.may_use_same_host else None

    def close(self) -> None:
        """Close them all; closing one twice does nothing."""
        if self.same_host is not None:
            self.same_host.close()
        self.streams.close()
        for _, channel in self._replicas:
            channel.close()
        self._balanced.close()


_SHARED: Sharing[_Connections] = Sharing()
