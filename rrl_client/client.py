"""The teacher service's client for asyncio; needs only grpcio, protobuf and numpy.

    async with AsyncTeacherClient("127.0.0.1:50051") as teacher:
        answer = await teacher.evaluate(observations)    # uint8 [B, 84, 84, 4]
        actions = answer.action_values.argmax(axis=1)    # float32 [B, A]

Every call has a deadline, and every failure is a `TeacherError` of one of the kinds that
`rrl_client.errors` lists. Queries use one long-lived stream per replica; with a teacher on
the same host, observations are in shared memory. Queries that a broken connection leaves
unanswered are retried until their deadline. A client belongs to the event loop that first uses it.
"""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Sequence
from typing import Any, cast

import grpc
import grpc.aio
import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl_client import channel as client_channel
from rrl_client import errors
from rrl_client.codec import TeacherAnswer, as_observations, decode_description, encode_query
from rrl_client.errors import TeacherError, TeacherNotFound, TeacherTimeout, TeacherUnavailable
from rrl_client.forks import is_forked
from rrl_client.pieces import (
    PIECES_UNDER_WAY,
    SEEK_PAUSE_SECONDS,
    SEEK_SECONDS,
    VersionsDiffer,
    cut,
    join,
    piece_rows,
)
from rrl_client.requests import Priority
from rrl_client.security import ClientSecurity, check_security, make_async_channel
from rrl_client.shared_memory import host_id
from rrl_client.spec import TeacherDescription
from rrl_client.stream import StreamPool
from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc

DEFAULT_TIMEOUT_SECONDS = 10.0
"""Deadline of calls if neither the client nor the call sets one."""

_POLL_SECONDS = 0.1

_Future = asyncio.Future[TeacherAnswer]


class AsyncTeacherClient:
    """Query one teacher, or its replicas, from an event loop. An async context manager."""

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        model: str = "",
        version: str = "",
        priority: Priority = Priority.ACTING,
        shared_memory: bool = True,
        security: ClientSecurity | None = None,
    ) -> None:
        """Prepare to connect; nothing is sent yet.

        Args:
            addresses: "host:port", "unix:/path" or "dns:///name:port" of the teacher; several
                "host:port", with commas or as a sequence, for replicas of one teacher.
            timeout_seconds: Default deadline of a call, above 0.
            model: Name of the model; empty for the server's first.
            version: Version number or hash to pin; empty for the newest.
            priority: The purpose of the queries.
            shared_memory: Whether to pass observations to a teacher on the same host in shared
                memory instead of messages.
            security: Certificates and token; None for plaintext without a token.

        Raises:
            ValueError: An argument is out of range, or a file of `security` cannot be used.
        """
        self._addresses = client_channel.parse_addresses(addresses)
        self._name = ",".join(self._addresses)
        self._timeout_seconds = _checked_timeout(timeout_seconds)
        self._model = model
        self._version = version
        self._priority = priority
        self._shared_memory = shared_memory
        check_security(self._addresses, security)
        self._security = security
        self._connected: _Connections | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self._description: TeacherDescription | None = None
        self._described_at_break = 0
        # Most queries resemble the previous one: reuse its message.
        self._request = teacher_pb2.EvaluateRequest()
        self._request_kind: object = None

    async def __aenter__(self) -> AsyncTeacherClient:
        """The client itself."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections; queries in flight fail. A second call does nothing.

        Raises:
            TeacherFailed: It is connected in another event loop. If that loop is closed, the
                connections are abandoned.
        """
        # A forked child leaves the connections to its parent.
        if self._is_closed or is_forked():
            return
        connections, loop = self._connected, self._loop
        if connections is None or loop is asyncio.get_running_loop():
            self._is_closed = True
            if connections is not None:
                await connections.close()
            return
        if loop is not None and loop.is_closed():
            self._is_closed = True
            connections.streams.abandon()
        raise errors.other_loop(self._name)

    def check_usable(self) -> None:
        """Check that the client can be used in this process.

        Raises:
            TeacherFailed: It was closed, or this process was forked from one that has clients.
        """
        errors.check_process(self._name)
        if self._is_closed:
            raise errors.closed(self._name)

    def timeout(self, timeout_seconds: float | None) -> float:
        """The timeout of a call, in seconds.

        Args:
            timeout_seconds: The caller's; None for the client's.

        Raises:
            ValueError: It is not above 0.
        """
        if timeout_seconds is None:
            return self._timeout_seconds
        return _checked_timeout(timeout_seconds)

    async def describe(self, *, timeout_seconds: float | None = None) -> TeacherDescription:
        """Describe the model, and set up shared memory with a teacher on this host.

        Raises:
            TeacherError: One of the kinds of `rrl_client.errors`.
        """
        connections = self._connections()
        request = teacher_pb2.DescribeRequest(model=self._model, version=self._version)
        break_count = connections.streams.break_count
        message = await connections.describe(request, self.timeout(timeout_seconds))
        try:
            described = decode_description(message)
        except ValueError as error:
            raise errors.no_teacher(self._name, error) from error
        connections.streams.note_presence()
        if self._shared_memory and described.host_id and described.host_id == host_id():
            connections.streams.share_memory(described.spec.row_bytes)
        self._description, self._described_at_break = described, break_count
        return described

    async def wait_until_ready(self, timeout_seconds: float) -> TeacherDescription:
        """Wait until the teacher is up and warmed up.

        Raises:
            TeacherUnavailable: It is not ready within `timeout_seconds`.
            TeacherError: Another kind: it answers, but cannot be used.
        """
        end = time.monotonic() + timeout_seconds
        telling: TeacherError | None = None
        while True:
            left = end - time.monotonic()
            try:
                return await self.describe(
                    timeout_seconds=max(min(left, self._timeout_seconds), 0.01)
                )
            except (TeacherUnavailable, TeacherTimeout) as error:
                telling = errors.more_telling(telling, error)
                if left <= _POLL_SECONDS:
                    raise errors.not_ready(self._name, timeout_seconds, telling) from error
            await asyncio.sleep(_POLL_SECONDS)

    async def evaluate(
        self, observations: ArrayLike, *, timeout_seconds: float | None = None
    ) -> TeacherAnswer:
        """Action values of a batch of any size, split into pieces that the teacher accepts.

        All rows come from the same parameters: if new ones arrive during the call, or replicas
        differ, the batch is queried again.

        Args:
            observations: [B, *observation_shape], B >= 1: an array in the dtype that `describe`
                returns, or nested lists or an object with `__array__`, which are converted if
                that dtype can hold their values. Do not change it before the answer arrives.
            timeout_seconds: Deadline of each piece; None for the client's.

        Raises:
            TeacherError: One of the kinds of `rrl_client.errors`; no rows are returned.
        """
        timeout = self.timeout(timeout_seconds)
        about = await self._about(timeout)
        array = as_observations(observations, about)
        if len(array) <= piece_rows(about):
            return await self._send(array, time.monotonic() + timeout, self._version)
        pieces = cut(array, piece_rows(about))
        version = self._version
        differ: VersionsDiffer | None = None
        for _ in range(client_channel.LARGEST_ATTEMPTS):
            try:
                return join(await self._evaluate_pieces(pieces, timeout, version))
            except VersionsDiffer as error:
                differ = error
                version = error.best
            except TeacherNotFound:
                if version == self._version:
                    raise
                # The last server with that version has replaced it since.
                version = self._version
        assert differ is not None, "every other end of a round leaves the loop"
        raise errors.changed_during_call(self._name, differ) from differ

    def evaluate_future(
        self, observations: ArrayLike, timeout_seconds: float | None = None
    ) -> asyncio.Future[TeacherAnswer]:
        """Send one request without waiting for the answer; call it in the event loop.

        Cancelling the future abandons the query.

        Args:
            observations: [B, *observation_shape], 1 <= B <= the teacher's `max_batch_rows`; as of
                `evaluate`. What is not an array may have to wait for the teacher's dtype.
            timeout_seconds: Deadline; the client's when None.

        Raises:
            TeacherRejected: The array cannot be sent.
            TeacherFailed: The client was closed, is connected in another event loop, or this
                process was forked from one that has clients. The future raises every other
                error.
        """
        timeout = self.timeout(timeout_seconds)
        deadline = time.monotonic() + timeout
        about = self._newest_description(self._connections())
        if about is None and not isinstance(observations, np.ndarray):
            return asyncio.ensure_future(self._describe_and_send(observations, timeout, deadline))
        return self._send(as_observations(observations, about), deadline, self._version)

    async def _describe_and_send(
        self, observations: ArrayLike, timeout: float, deadline: float
    ) -> TeacherAnswer:
        array = as_observations(observations, await self._about(timeout))
        return await self._send(array, deadline, self._version)

    def _connections(self) -> _Connections:
        """The client's connections in its event loop.

        Raises:
            TeacherFailed: The client was closed, or is used in another loop or process.
        """
        self.check_usable()
        loop = asyncio.get_running_loop()
        if self._connected is None:
            self._connected = _Connections(self._addresses, self._security)
            self._loop = loop
        if self._loop is not loop:
            raise errors.other_loop(self._name)
        return self._connected

    def _newest_description(self, connections: _Connections) -> TeacherDescription | None:
        """The teacher's description, unless the teacher may have changed since."""
        is_newest = self._described_at_break == connections.streams.break_count
        return self._description if is_newest else None

    async def _about(self, timeout: float) -> TeacherDescription:
        """The teacher's description, fetched again if it may have changed."""
        newest = self._newest_description(self._connections())
        if newest is not None:
            return newest
        try:
            return await self.describe(timeout_seconds=timeout)
        except (TeacherUnavailable, TeacherTimeout):
            # It has answered before and may be back before the deadline.
            if self._description is None:
                raise
            return self._description

    async def _evaluate_pieces(
        self, pieces: Sequence[NDArray[Any]], timeout: float, version: str
    ) -> list[TeacherAnswer]:
        pending: collections.deque[tuple[_Future, NDArray[Any], float]] = collections.deque()
        answers: list[TeacherAnswer] = []
        try:
            for piece in pieces:
                if len(pending) == PIECES_UNDER_WAY:
                    answers.append(await self._answer_to_piece(*pending.popleft(), version))
                deadline = time.monotonic() + timeout
                pending.append((self._send(piece, deadline, version), piece, deadline))
            while pending:
                answers.append(await self._answer_to_piece(*pending.popleft(), version))
        finally:
            # After an error the other pieces are useless.
            for future, _, _ in pending:
                future.cancel()
        return answers

    async def _answer_to_piece(
        self, future: _Future, piece: NDArray[Any], deadline: float, version: str
    ) -> TeacherAnswer:
        """Wait for it; another replica may have the version of the other pieces."""
        end = min(deadline, time.monotonic() + SEEK_SECONDS)
        while True:
            try:
                return await future
            except TeacherNotFound:
                if version == self._version or time.monotonic() >= end:
                    raise
            await asyncio.sleep(SEEK_PAUSE_SECONDS)
            future = self._send(piece, deadline, version)

    def _send(self, observations: NDArray[Any], deadline: float, version: str) -> _Future:
        connections = self._connections()
        kind = (observations.shape, observations.dtype, version)
        if kind != self._request_kind:
            self._request = encode_query(observations, self._model, version, self._priority)
            self._request_kind = kind
        return connections.streams.submit(observations, self._request, deadline)


class _Connections:
    """The connections in one event loop, made at the first call."""

    def __init__(self, addresses: Sequence[str], security: ClientSecurity | None) -> None:
        self._channels = [
            make_async_channel(address, security, client_channel.CHANNEL_OPTIONS)
            for address in addresses
        ]
        self._stubs: list[Any] = [teacher_pb2_grpc.TeacherStub(made) for made in self._channels]
        self._addresses = addresses
        # Only the number of replicas behind a name can grow; their streams share a channel.
        count = client_channel.counted(addresses)
        each = [*zip(addresses, self._channels, strict=True)]
        streams = each if count is None else each * count()
        self.streams = StreamPool(streams, ",".join(addresses), count_replicas=count)

    async def describe(
        self, request: teacher_pb2.DescribeRequest, timeout_seconds: float
    ) -> teacher_pb2.DescribeResponse:
        """The description from the first replica that answers.

        Raises:
            TeacherError: None answers.
        """
        asked = [
            asyncio.ensure_future(_described(stub, request, timeout_seconds, address))
            for stub, address in zip(self._stubs, self._addresses, strict=True)
        ]
        failures: list[TeacherError] = []
        try:
            for answer in asyncio.as_completed(asked):
                try:
                    return await answer
                except TeacherError as error:
                    failures.append(error)
        finally:
            for other in asked:
                other.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        raise errors.of_replicas(failures)

    async def close(self) -> None:
        """Close all; closing one twice does nothing."""
        await self.streams.close()
        for channel in self._channels:
            await channel.close(None)


async def _described(
    stub: Any, request: teacher_pb2.DescribeRequest, timeout_seconds: float, address: str
) -> teacher_pb2.DescribeResponse:
    try:
        return cast(
            teacher_pb2.DescribeResponse, await stub.Describe(request, timeout=timeout_seconds)
        )
    except grpc.RpcError as error:
        raise errors.error_of_call(error, address) from error


def _checked_timeout(timeout_seconds: float) -> float:
    if not timeout_seconds > 0:
        raise ValueError(f"timeout_seconds is {timeout_seconds}; it must be above 0")
    return timeout_seconds
