"""The asyncio client of the teacher service; needs grpcio, protobuf and numpy only.

    async with AsyncTeacherClient("127.0.0.1:50051") as teacher:
        answer = await teacher.evaluate(observations)    # uint8 [B, 84, 84, 4]
        actions = answer.action_values.argmax(axis=1)    # float32 [B, A]

Same arguments, transports, errors and deadlines as `rrl_client.blocking`. A client belongs to
the event loop that first used it: each `asyncio.run` makes its own.
"""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Hashable, Sequence
from types import TracebackType
from typing import Any

import grpc
import grpc.aio
import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl_client import channel as client_channel
from rrl_client import errors as client_errors
from rrl_client import same_host as client_same_host
from rrl_client.answers import (
    PIECES_UNDER_WAY,
    SEEK_PAUSE_SECONDS,
    SEEK_SECONDS,
    TeacherAnswer,
    VersionsDiffer,
    changed_during_call,
    cut,
    decode_answer,
    decode_description,
    encode_query,
    join,
    piece_rows,
)
from rrl_client.async_same_host import AsyncSameHostPath
from rrl_client.async_stream import AsyncStreamPool
from rrl_client.codec import TeacherDescription
from rrl_client.errors import (
    TeacherError,
    TeacherNotFound,
    TeacherTimeout,
    TeacherUnavailable,
)
from rrl_client.forks import is_forked
from rrl_client.observations import as_observations
from rrl_client.requests import Priority
from rrl_client.same_host import SecondAttempts
from rrl_client.security import ClientSecurity, make_async_channel
from rrl_client.settings import DEFAULT_TIMEOUT_SECONDS, ClientSettings, Transport
from rrl_client.sharing import Sharing
from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc

_POLL_SECONDS = 0.1

_Future = asyncio.Future[TeacherAnswer]


class AsyncTeacherClient:
    """Asks one teacher, or its replicas, from an event loop. An async context manager."""

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

        Arguments and errors are those of `TeacherClient`.
        """
        self._settings = ClientSettings(
            addresses=client_channel.parse_addresses(addresses),
            timeout_seconds=timeout_seconds,
            model=model,
            version=version,
            priority=priority,
            transport=transport,
            security=security,
        )
        self._name = self._settings.name
        self._connected: _Connections | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self._description: TeacherDescription | None = None
        self._described_at_break = 0

    async def __aenter__(self) -> AsyncTeacherClient:
        """The client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Leave the connections; queries under way fail when this was the last client on them.

        Raises:
            TeacherFailed: It is connected in another event loop. Where that has ended, the
                connections are given up, too.
        """
        # A forked child leaves the connections to its parent.
        if self._is_closed or is_forked():
            return
        if self._loop is None:
            self._is_closed = True
            return
        is_here = self._loop is asyncio.get_running_loop()
        if not is_here and not self._loop.is_closed():
            raise client_errors.other_loop(self._name)
        self._is_closed = True
        connections = _SHARED.leave((self._loop, self._settings.shared_by))
        if not is_here:
            if connections is not None:
                connections.abandon()
            raise client_errors.other_loop(self._name)
        if connections is not None:
            await connections.close()

    async def describe(self, *, timeout_seconds: float | None = None) -> TeacherDescription:
        """Ask what is served; connects to the same-host path where the teacher offers it.

        Raises:
            TeacherError: One of the kinds of `client_errors`.
        """
        connections = self._connections()
        settings = self._settings
        request = teacher_pb2.DescribeRequest(model=settings.model, version=settings.version)
        break_count = connections.streams.break_count
        try:
            message = await connections.stub.Describe(
                request, timeout=settings.timeout(timeout_seconds)
            )
        except grpc.RpcError as error:
            raise client_errors.error_of_call(error, self._name) from error
        described = decode_description(message, self._name)
        connections.streams.seen()
        connections.streams.note_presence()
        if connections.same_host is not None:
            connections.same_host.offer(described)
        self._description, self._described_at_break = described, break_count
        return described

    async def wait_until_ready(self, timeout_seconds: float) -> TeacherDescription:
        """Wait until the teacher is there and warmed up.

        Raises:
            TeacherUnavailable: It was not within `timeout_seconds`.
            TeacherError: It is there, but wrong.
        """
        end = time.monotonic() + timeout_seconds
        telling: TeacherError | None = None
        while True:
            left = end - time.monotonic()
            patience = max(min(left, self._settings.timeout_seconds), 0.01)
            try:
                return await self.describe(timeout_seconds=patience)
            except (TeacherUnavailable, TeacherTimeout) as error:
                telling = client_errors.more_telling(telling, error)
                if left <= _POLL_SECONDS:
                    raise client_errors.not_ready(self._name, timeout_seconds, telling) from error
            await asyncio.sleep(_POLL_SECONDS)

    async def evaluate(
        self, observations: ArrayLike, *, timeout_seconds: float | None = None
    ) -> TeacherAnswer:
        """Action values of a batch of any size, sent in pieces that the teacher takes.

        All rows come from the same parameters: when new ones arrive in the middle, or replicas have
        different ones, the batch is asked again.

        Args:
            observations: [B, *observation_shape], B >= 1, as of `TeacherClient.evaluate`; not to
                change until the answer is there.
            timeout_seconds: Deadline of each piece; the client's when None.

        Raises:
            TeacherError: One of the kinds of `client_errors`; then no rows are returned at all.
        """
        timeout = self._settings.timeout(timeout_seconds)
        about = await self._about(timeout)
        pieces = cut(as_observations(observations, about), self._piece_rows(about))
        version = self._settings.version
        differ: VersionsDiffer | None = None
        for _ in range(client_channel.LARGEST_ATTEMPTS):
            try:
                return join(await self._evaluate_pieces(pieces, timeout, version))
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
    ) -> asyncio.Future[TeacherAnswer]:
        """Send one request; for callers that go on meanwhile. Call it in the event loop.

        Cancelling the future gives the query up.

        Args:
            observations: [B, *observation_shape], 1 <= B <= the teacher's `max_batch_rows`; as of
                `TeacherClient.evaluate`. What is no array may have to wait for the teacher's dtype.
            timeout_seconds: Deadline; the client's when None.

        Raises:
            TeacherRejected: The array cannot be sent at all.
            TeacherFailed: The client was closed, is connected in another event loop, or this
                process was forked from one that has clients. Every other error comes from the
                future.
        """
        timeout = self._settings.timeout(timeout_seconds)
        deadline = time.monotonic() + timeout
        connections = self._connections()
        about = self._newest_description(connections)
        if about is None and not isinstance(observations, np.ndarray):
            return asyncio.ensure_future(self._describe_and_send(observations, timeout, deadline))
        array, version = as_observations(observations, about), self._settings.version
        return self._send(connections, array, deadline, version, is_awaited=False)

    async def _describe_and_send(
        self, observations: ArrayLike, timeout: float, deadline: float
    ) -> TeacherAnswer:
        array = as_observations(observations, await self._about(timeout))
        version = self._settings.version
        return await self._send(self._connections(), array, deadline, version, is_awaited=True)

    def _connections(self) -> _Connections:
        """What this client asks over, in its event loop.

        Raises:
            TeacherFailed: The client was closed, or is used in another loop or process.
        """
        client_errors.check_process(self._name)
        if self._is_closed:
            raise client_errors.closed(self._name)
        loop = asyncio.get_running_loop()
        if self._connected is None:
            key: Hashable = (loop, self._settings.shared_by)
            self._connected = _SHARED.join(key, lambda: _Connections(self._settings))
            self._loop = loop
        if self._loop is not loop:
            raise client_errors.other_loop(self._name)
        return self._connected

    def _newest_description(self, connections: _Connections) -> TeacherDescription | None:
        """What is known of the teacher, unless another one may have come since."""
        is_newest = self._described_at_break == connections.streams.break_count
        return self._description if is_newest else None

    async def _about(self, timeout: float) -> TeacherDescription:
        """The teacher's description, asked for where it may have changed."""
        newest = self._newest_description(self._connections())
        if newest is not None:
            return newest
        try:
            return await self.describe(timeout_seconds=timeout)
        except (TeacherUnavailable, TeacherTimeout):
            # It answered once and may be back before the deadline.
            if self._description is None:
                raise
            return self._description

    def _piece_rows(self, about: TeacherDescription) -> int:
        """Rows of one message."""
        same_host = self._connections().same_host
        shared = None if same_host is None else same_host.connection
        return client_same_host.piece_rows(shared, piece_rows(about))

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
                future = self._send(self._connections(), piece, deadline, version, is_awaited=True)
                pending.append((future, piece, deadline))
            while pending:
                answers.append(await self._answer_to_piece(*pending.popleft(), version))
        finally:
            # After an error nobody wants the others.
            for future, _, _ in pending:
                future.cancel()
        return answers

    async def _answer_to_piece(
        self, future: _Future, piece: NDArray[Any], deadline: float, version: str
    ) -> TeacherAnswer:
        """Wait for it; one of several replicas may have the version that other pieces came from."""
        end = min(deadline, time.monotonic() + SEEK_SECONDS)
        while True:
            try:
                return await future
            except TeacherNotFound:
                if version == self._settings.version or time.monotonic() >= end:
                    raise
            await asyncio.sleep(SEEK_PAUSE_SECONDS)
            future = self._send(self._connections(), piece, deadline, version, is_awaited=True)

    def _send(
        self,
        connections: _Connections,
        observations: NDArray[Any],
        deadline: float,
        version: str,
        *,
        is_awaited: bool,
        attempt: int = 1,
    ) -> asyncio.Future[TeacherAnswer]:
        def by_grpc(kept: NDArray[Any]) -> asyncio.Future[TeacherAnswer]:
            return self._send_by_grpc(connections, kept, deadline, version)

        def again(kept: NDArray[Any]) -> asyncio.Future[TeacherAnswer]:
            return self._send(
                connections, kept, deadline, version, is_awaited=True, attempt=attempt + 1
            )

        same_host = connections.same_host
        # A connection asks for the version it was made for.
        if same_host is None or version != self._settings.version:
            return by_grpc(observations)
        may_repeat = is_awaited and attempt < client_channel.LARGEST_ATTEMPTS
        attempts = SecondAttempts(
            made=attempt,
            when_lost=by_grpc if self._settings.transport == "auto" else None,
            when_full=again if may_repeat else None,
        )
        future = same_host.submit(
            observations, deadline, self._settings.priority, attempts, is_awaited=is_awaited
        )
        return by_grpc(observations) if future is None else future

    def _send_by_grpc(
        self, connections: _Connections, observations: NDArray[Any], deadline: float, version: str
    ) -> asyncio.Future[TeacherAnswer]:
        settings = self._settings
        if settings.transport == "same_host":
            failed = asyncio.get_running_loop().create_future()
            failed.set_exception(client_errors.no_shared_memory(self._name))
            return failed
        request = encode_query(observations, settings.model, version, settings.priority)
        if settings.transport == "unary":
            return asyncio.ensure_future(self._ask_unary(connections, request, deadline))
        return connections.streams.submit(request, len(observations), deadline)

    async def _ask_unary(
        self, connections: _Connections, request: teacher_pb2.EvaluateRequest, deadline: float
    ) -> TeacherAnswer:
        timeout = max(deadline - time.monotonic(), 0.0)
        try:
            message = await connections.stub.Evaluate(request, timeout=timeout)
        except grpc.RpcError as error:
            raise client_errors.error_of_call(error, self._name) from error
        return decode_answer(message, request.batch_rows, self._name)


class _Connections:
    """What is bound to an event loop: made at the first call."""

    def __init__(self, settings: ClientSettings) -> None:
        addresses = settings.addresses

        def make(target: str) -> grpc.aio.Channel:
            options = client_channel.channel_options(target, addresses)
            return make_async_channel(target, settings.security, options)

        self._balanced = make(client_channel.balanced_target(addresses))
        # Only the replicas behind a name can become more.
        count = client_channel.counted(addresses)
        self._replicas = (
            [(addresses[0], self._balanced)] * (count() if count is not None else 1)
            if len(addresses) == 1
            else [(address, make(address)) for address in addresses]
        )
        self.stub: Any = teacher_pb2_grpc.TeacherStub(self._balanced)
        self.streams = AsyncStreamPool(self._replicas, settings.name, count_replicas=count)
        self.same_host = (
            AsyncSameHostPath(settings, self.stub) if settings.may_use_same_host else None
        )

    def abandon(self) -> None:
        """Give them up after their event loop has ended, with the tasks and calls in it."""
        if self.same_host is not None:
            self.same_host.close()

    async def close(self) -> None:
        """Close them all; closing one twice does nothing."""
        if self.same_host is not None:
            self.same_host.close()
        await self.streams.close()
        for _, channel in self._replicas:
            await channel.close(None)
        await self._balanced.close(None)


_SHARED: Sharing[_Connections] = Sharing()
