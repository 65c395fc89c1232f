"""The device process's engine, as a front-end process sees it.

What is served is asked over gRPC on the device process's private socket, again and again; queries
are passed on over one stream, with their rows in shared memory. Everything runs in the front end's
event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

from rrl_client import TeacherAnswer, TeacherDescription, TeacherError, TeacherOverloaded, codec
from rrl_client.requests import Refusal, RefusalCode
from rrl_client.shared_memory import host_id
from rrl_client.stream import StreamPool
from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc
from services.shared.errors import quoted
from services.teacher.batching.query import Query

_LOG = logging.getLogger(__name__)
_NAME = "the device process"
_ASK_SECONDS = 0.25
_ASK_TIMEOUT_SECONDS = 2.0


class RemoteEngine:
    """Passes queries on to the device process (`Engine`)."""

    def __init__(self, device_address: str, rows: int) -> None:
        """Know nothing yet; call it in the event loop.

        Args:
            device_address: gRPC target of the device process.
            rows: Rows of shared memory.
        """
        self._channel = grpc.aio.insecure_channel(device_address)
        self._stub: Any = teacher_pb2_grpc.TeacherStub(self._channel)
        self._rows = rows
        # Refusals go to the caller, who repeats or not.
        self._pool = StreamPool([(_NAME, self._channel)], _NAME, attempts=1)
        self._found: dict[tuple[str, str], TeacherDescription] = {}
        self._listed: list[TeacherDescription] = []
        self._under_way: dict[asyncio.Future[TeacherAnswer], Query] = {}
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
        """End the stream and the connection."""
        await self._pool.close()
        await self._channel.close(None)

    async def follow(self) -> None:
        """Keep up with what the device process serves, until cancelled."""
        while True:
            try:
                await self._ask()
            except (grpc.aio.AioRpcError, ValueError) as error:
                self._unknown(error)
            for future, query in list(self._under_way.items()):
                if query.cancelled:
                    future.cancel()
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
            Refusal: UNAVAILABLE.
        """
        self._check_open()
        request = codec.encode_query(query.observations, model, version, query.priority)
        future = self._pool.submit(query.observations, request, query.deadline)
        self._under_way[future] = query
        future.add_done_callback(self._settle)

    def _check_open(self) -> None:
        if self._refusing is not None:
            raise Refusal(RefusalCode.UNAVAILABLE, f"the teacher is {self._refusing}")

    def _settle(self, done: asyncio.Future[TeacherAnswer]) -> None:
        query = self._under_way.pop(done)
        try:
            answer = done.result()
        except asyncio.CancelledError:
            query.refusal = Refusal(RefusalCode.CANCELLED, "the query was cancelled")
        except TeacherError as error:
            query.refusal = _refusal(error)
        else:
            query.values = answer.action_values
            query.version = answer.model_version
            query.parameters_hash = answer.teacher_version
        query.sink.settled([query])

    def _unknown(self, error: grpc.aio.AioRpcError | ValueError) -> None:
        """A busy device process, or a version that retires in between, is no reason to refuse."""
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

    async def _describe_all(self, versions: Sequence[tuple[str, str]]) -> None:
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
        if default.host_id and default.host_id == host_id():
            self._pool.share_memory(default.spec.row_bytes, self._rows)

    async def _describe(self, model: str, version: str) -> TeacherDescription:
        request = teacher_pb2.DescribeRequest(model=model, version=version)
        message = await self._stub.Describe(request, timeout=_ASK_TIMEOUT_SECONDS)
        return codec.decode_description(message)


def _refusal(error: TeacherError) -> Refusal:
    """The device process's refusal, as it gave it; what the stream says is UNAVAILABLE."""
    after = error.retry_after_seconds if isinstance(error, TeacherOverloaded) else None
    code = RefusalCode.UNAVAILABLE if error.code is None else RefusalCode(error.code)
    return Refusal(code, error.details or str(error), after)
