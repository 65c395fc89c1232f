"""The standard gRPC health service (grpc.health.v1): server, checks, and waiting for SERVING.

Each of our servers answers for the empty name (the process) and for its service's full name:
NOT_SERVING until it can work, and again once it drains.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any, TypeAlias

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rrl_client import ClientSecurity
from rrl_client.security import make_channel
from services.shared.errors import UserError

WHOLE_PROCESS = ""
"""The health service's name for the process as a whole."""

_POLL_SECONDS = 0.05
_ONE_CHECK_SECONDS = 2.0
_LONGEST_NAME = 256
_MOST_WATCHERS = 2048
_TAKEN_SECONDS = 10.0
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
_STATUS = {
    True: health_pb2.HealthCheckResponse.SERVING,
    False: health_pb2.HealthCheckResponse.NOT_SERVING,
}

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Health of a `grpc.aio.server`, with checks and watches.

    The asyncio servicer of grpcio-health-checking drops all watchers of a service when one of them
    leaves.

    Args:
        services: Full names of the server's services, e.g. "rrl.teacher.v1.Teacher"; they and the
            whole process start as NOT_SERVING.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._statuses = dict.fromkeys((WHOLE_PROCESS, *services), _STATUS[False])
        # The watchers, oldest first.
        self._watchers: dict[_Watcher, None] = {}

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register on a server that has not started yet."""
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    def set_serving(self, serving: bool, names: Iterable[str] | None = None) -> None:
        """Answer SERVING or NOT_SERVING from now on; in the event loop, once the server serves.

        Args:
            serving: The new status.
            names: Names to set; None for all names.
        """
        for name in [*self._statuses] if names is None else names:
            self._statuses[name] = _STATUS[serving]
        for watcher in self._watchers:
            watcher.wake.set()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> health_pb2.HealthCheckResponse:
        """The status of a service; NOT_FOUND for an unknown one."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service here")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: _Context) -> None:
        """The status of a service, now and whenever it changes."""
        if len(request.service) > _LONGEST_NAME:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no service has such a name")
        watcher, reported = _Watcher(), None
        if len(self._watchers) >= _MOST_WATCHERS:
            # Drop the oldest: watching needs no token, and must stay possible for all.
            oldest = next(iter(self._watchers))
            del self._watchers[oldest]
            oldest.is_dropped = True
            oldest.wake.set()
        self._watchers[watcher] = None
        try:
            while not watcher.is_dropped:
                watcher.wake.clear()
                status = self._statuses.get(request.service, _UNKNOWN)
                if status != reported:
                    answer = health_pb2.HealthCheckResponse(status=status)
                    if not await _is_taken(context, answer):
                        break
                    reported = status
                await watcher.wake.wait()
        finally:
            self._watchers.pop(watcher, None)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "others watch now; watch again")


async def _is_taken(context: _Context, answer: health_pb2.HealthCheckResponse) -> bool:
    """Whether the caller reads its response in time."""
    # Not asyncio.wait_for: Python before 3.12 swallows the cancellation of a caller that leaves
    # right after its response, which would then stay.
    writing = asyncio.ensure_future(context.write(answer))
    try:
        await asyncio.wait((writing,), timeout=_TAKEN_SECONDS)
    finally:
        writing.cancel()
    if not writing.done():
        return False
    writing.result()
    return True


class _Watcher:
    """One watching call."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.is_dropped = False


def is_serving(
    address: str,
    service: str = WHOLE_PROCESS,
    *,
    timeout_seconds: float,
    security: ClientSecurity | None = None,
) -> bool:
    """Check once; False if no answer comes in time, or any answer but SERVING."""
    with make_channel(address, security) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = stub.Check(request, timeout=timeout_seconds)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def wait_until_serving(address: str, timeout_seconds: float, service: str = WHOLE_PROCESS) -> None:
    """Block until the server at `address` says SERVING.

    Raises:
        UserError: It is not serving within `timeout_seconds`.
    """
    end = time.monotonic() + timeout_seconds
    while (left := end - time.monotonic()) > 0:
        # A new channel per check, so that no reconnect back-off delays finding a new server.
        if is_serving(address, service, timeout_seconds=min(left, _ONE_CHECK_SECONDS)):
            return
        time.sleep(min(_POLL_SECONDS, max(end - time.monotonic(), 0)))
    raise UserError(
        f"{service or 'the service'} at {address} was not serving within {timeout_seconds:g} s; "
        "look at its log, or give it more time"
    )
