"""The device process's engine, as a front-end process sees it.

What is served is asked over gRPC on the device process's private socket, again and again; rows and
values travel on the same-host path. Everything lives in the front end's event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np

from rrl_client import TeacherDescription, codec
from rrl_client.requests import Refusal, RefusalCode
from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc
from services.shared.errors import quoted
from services.teacher.batching.query import Query
from services.teacher.same_host.connection import SameHostConnection
from services.teacher.same_host.future import SameHostFuture

_LOG = logging.getLogger(__name__)
_ASK_SECONDS = 0.25
_FULL_RETRY_SECONDS = 0.02
# The event loop waits for it; the device process answers at once or is in trouble.
_CONNECT_SECONDS = 0.5
_ASK_TIMEOUT_SECONDS = 2.0

_Key = tuple[str, str]


class RemoteEngine:
    """Passes queries on to the device process (`Engine`)."""

    def __init__(self, device_address: str, rows: int) -> None:
        """Know nothing yet; call it in the event loop.

        Args:
            device_address: gRPC target of the device process.
            rows: Rows under way at most, per model and pinned version.
        """
        self._loop = asyncio.get_running_loop()
        self._channel = grpc.aio.insecure_channel(device_address)
        # The stub is typed for channels that block.
        self._stub: Any = teacher_pb2_grpc.TeacherStub(self._channel)
        self._rows = rows
        self._found: dict[_Key, TeacherDescription] = {}
        self._listed: list[TeacherDescription] = []
        self._connections: dict[_Key, SameHostConnection] = {}
        self._unsent: set[_Key] = set()
        self._under_way: dict[SameHostFuture, tuple[_Key, Query]] = {}
        self._refusing: str | None = "warming up"
        self._draining = False

    @property
    def is_serving(self) -> bool:
        """Whether the device process answers."""
        return self._refusing is None

    def refuse(self) -> None:
        """Refuse what is new with UNAVAILABLE."""
        self._draining, self._refusing = True, "draining"

    async def close(self) -> None:
        """End all connections."""
        for connection in self._connections.values():
            self._loop.remove_reader(connection.fileno())
            connection.close()
        self._connections.clear()
        await self._channel.close(None)

    async def follow(self) -> None:
        """Keep up with what the device process serves, until cancelled."""
        while True:
            try:
                await self._ask()
            except (grpc.aio.AioRpcError, ValueError) as error:
                self._not_told(error)
            self._cancel()
            self._leave_retired()
            await asyncio.sleep(_ASK_SECONDS)

    def describe(self, model: str = "", version: str = "") -> TeacherDescription:
        """What a model takes and gives (`Engine.describe`).

        Raises:
            Refusal: NOT_FOUND, FAILED_PRECONDITION or UNAVAILABLE.
        """
        self._check_open()
        found = self._found.get((model, version))
        if found is not None:
            return found
        if (model, "") in self._found:
            raise Refusal(
                RefusalCode.FAILED_PRECONDITION,
                f"version {quoted(version)} of {model!r} is not served",
            )
        names = ", ".join(sorted({about.model for about in self._listed}))
        raise Refusal(RefusalCode.NOT_FOUND, f"no model {quoted(model)} here; there are {names}")

    def descriptions(self) -> Sequence[TeacherDescription]:
        """Every model in every version.

        Raises:
            Refusal: UNAVAILABLE.
        """
        self._check_open()
        return self._listed

    def submit(self, query: Query, model: str = "", version: str = "") -> None:
        """Queue a query at the device process (`Engine.submit`).

        Raises:
            Refusal: RESOURCE_EXHAUSTED when the shared memory is full, or UNAVAILABLE.
        """
        self._check_open()
        connection = self._connection((model, version))
        rows, granted = len(query.observations), connection.layout.rows
        if rows > granted:
            raise Refusal(
                RefusalCode.RESOURCE_EXHAUSTED,
                f"{rows} rows; {granted} rows of shared memory were left for this front end",
            )
        try:
            future = connection.submit(
                query.observations,
                max(query.deadline - time.monotonic(), 1e-3),
                query.priority,
                wait=False,
                flush=False,
            )
        except Refusal as refusal:
            if refusal.code is RefusalCode.RESOURCE_EXHAUSTED:
                refusal.retry_after_seconds = _FULL_RETRY_SECONDS
            raise
        # All queries of this turn of the loop go in one packet.
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.add((model, version))
        self._under_way[future] = (model, version), query
        future.add_done_callback(self._settle)

    def _check_open(self) -> None:
        if self._refusing is not None:
            raise Refusal(RefusalCode.UNAVAILABLE, f"the teacher is {self._refusing}")

    def _flush(self) -> None:
        for key in self._unsent:
            if key in self._connections:
                self._connections[key].flush()
        self._unsent.clear()

    def _connection(self, key: _Key) -> SameHostConnection:
        connection = self._connections.get(key)
        if connection is None or connection.closed:
            address = self.describe(*key).same_host
            if address is None:
                raise Refusal(RefusalCode.UNAVAILABLE, "the device process offers no shared memory")
            if connection is not None:
                self._forget(key)
            connection = SameHostConnection(
                address.socket_path,
                address.ticket,
                model=key[0],
                version=key[1],
                rows=self._rows,
                is_watched=True,
                connect_timeout_seconds=_CONNECT_SECONDS,
            )
            self._connections[key] = connection
            self._loop.add_reader(connection.fileno(), self._read, key)
        return connection

    def _read(self, key: _Key) -> None:
        connection = self._connections[key]
        connection.process_ready()
        if connection.closed:
            self._forget(key)

    def _forget(self, key: _Key) -> None:
        connection = self._connections.pop(key)
        self._loop.remove_reader(connection.fileno())
        connection.close()

    def _settle(self, done: SameHostFuture) -> None:
        _, query = self._under_way.pop(done)
        try:
            answer = done.result(0.0)
        except Refusal as refusal:
            query.refusal = refusal
        else:
            np.copyto(query.values, answer.action_values)
            query.version = answer.model_version
            query.parameters_hash = answer.teacher_version
        query.sink.settled([query])

    def _cancel(self) -> None:
        """Tell the device process of queries that nobody wants any more."""
        for future, (_, query) in list(self._under_way.items()):
            if query.cancelled:
                future.cancel()

    def _leave_retired(self) -> None:
        """Close connections to versions that are gone, once their last queries are settled."""
        in_use = {key for key, _ in self._under_way.values()}
        for key in self._connections.keys() - self._found.keys() - in_use:
            self._forget(key)

    def _not_told(self, error: grpc.aio.AioRpcError | ValueError) -> None:
        """A busy device process, or a version that retires meanwhile, is no reason to refuse."""
        is_gone = (
            isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.UNAVAILABLE
        )
        if self._refusing is None:
            _LOG.warning("the device process did not say what it serves: %s", error)
        if is_gone:
            self._refusing = "draining" if self._draining else "warming up"

    async def _ask(self) -> None:
        listed = await self._stub.ListModels(
            teacher_pb2.ListModelsRequest(), timeout=_ASK_TIMEOUT_SECONDS
        )
        # Only what has changed is asked in full.
        versions = {(m.model, str(m.model_version)): m.teacher_version for m in listed.models}
        known = {(a.model, str(a.model_version)): a.teacher_version for a in self._listed}
        if versions != known:
            await self._describe_all(list(versions))
        if not self._draining:
            self._refusing = None

    async def _describe_all(self, versions: Sequence[_Key]) -> None:
        default = await self._describe("", "")
        found = {("", ""): default}
        listed = []
        for model, number in versions:
            about = await self._describe(model, number)
            listed.append(about)
            names = [model, ""] if model == default.model else [model]
            for name in names:
                # Ordered by version: the newest is the last to be the unpinned one.
                for version in ("", number, about.teacher_version):
                    found[name, version] = about
        self._found, self._listed = found, listed

    async def _describe(self, model: str, version: str) -> TeacherDescription:
        request = teacher_pb2.DescribeRequest(model=model, version=version)
        message = await self._stub.Describe(request, timeout=_ASK_TIMEOUT_SECONDS)
        return codec.decode_description(message)
