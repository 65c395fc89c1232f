"""Clients that share nothing: a connection and a stream, or a piece of shared memory, for each.

What many separate programs of one agent each would cost the service, without the cost of as many
processes on the machine that measures. One query at a time, one query per frame.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
from numpy.typing import NDArray

from rrl_client import codec
from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc
from services.teacher.same_host.connection import SameHostConnection
from services.teacher.same_host.future import SameHostAnswer, SameHostFuture

_TIMEOUT_SECONDS = 10.0
# gRPC would have all channels to one address share a connection.
_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


class UnsharedStream:
    """A TCP or Unix connection of its own with one stream."""

    def __init__(self, address: str) -> None:
        """Connect to a gRPC address."""
        self._channel = grpc.aio.insecure_channel(address, options=_OWN_CONNECTION)
        stub: Any = teacher_pb2_grpc.TeacherStub(self._channel)  # type: ignore[arg-type]
        self._call = stub.EvaluateStream()
        self._tag = 0

    async def evaluate(self, observations: NDArray[Any]) -> None:
        """Ask one query and wait for its answer.

        Raises:
            RuntimeError: It was refused, or the stream ended.
        """
        self._tag += 1
        request = codec.encode_observations(observations)
        query = teacher_pb2.Query(
            tag=self._tag, timeout_ms=int(1000 * _TIMEOUT_SECONDS), request=request
        )
        await self._call.write(teacher_pb2.QueryFrame(queries=[query]))
        while (frame := await self._call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            for answer in frame.answers:
                if answer.HasField("failure"):
                    raise RuntimeError(f"the teacher refused: {answer.failure.message}")
                codec.decode_action_values(answer.response, len(observations))
                return
        raise RuntimeError("the teacher ended the stream")

    async def close(self) -> None:
        """End the stream and the connection."""
        self._call.cancel()
        await self._channel.close(None)


class UnsharedSameHost:
    """A same-host connection with shared memory of its own; call it in an event loop."""

    def __init__(self, offered: codec.SameHostAddress, rows: int) -> None:
        """Connect.

        Args:
            offered: From Describe.
            rows: Rows of shared memory.
        """
        self._connection = SameHostConnection(
            offered.socket_path, offered.ticket, rows=rows, is_watched=True
        )
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._connection.fileno(), self._connection.process_ready)

    async def evaluate(self, observations: NDArray[Any]) -> None:
        """Ask one query and wait for its answer.

        Raises:
            RuntimeError: It was refused.
        """
        done: asyncio.Future[None] = self._loop.create_future()

        def settled(future: SameHostFuture) -> None:
            if isinstance(future.outcome, SameHostAnswer):
                done.set_result(None)
            else:
                done.set_exception(RuntimeError(f"the teacher refused: {future.outcome}"))

        future = self._connection.submit(observations, _TIMEOUT_SECONDS)
        future.add_done_callback(settled)
        await done

    async def close(self) -> None:
        """End the connection."""
        self._loop.remove_reader(self._connection.fileno())
        self._connection.close()
