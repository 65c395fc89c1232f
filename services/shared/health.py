"""The standard gRPC health service (grpc.health.v1): who serves, and waiting for it.

Every server of ours answers for the empty name (the process) and for its service's full name.
NOT_SERVING until it can really work, and again as soon as it drains.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NoReturn

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.shared.errors import UserError
from services.shared.security.client import ClientSecurity, make_channel

WHOLE_PROCESS = ""
"""The health service's name for the process as a whole."""

_POLL_SECONDS = 0.05
_ONE_CHECK_SECONDS = 2.0


def _status(serving: bool) -> health_pb2.HealthCheckResponse.ServingStatus:
    response = health_pb2.HealthCheckResponse
    return response.SERVING if serving else response.NOT_SERVING


class _CheckOnly(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Answers Check, and Watch with UNIMPLEMENTED, which gRPC's clients take for "cannot tell".

    The library's servicer for threaded servers holds a lock while it sends to a watcher, and wants
    the same lock in gRPC's own thread when another watcher leaves: then nothing is served any more.
    Watchers need no token, so anybody could bring that about. Probes ask by Check.
    """

    def __init__(self) -> None:
        self.statuses: dict[str, health_pb2.HealthCheckResponse.ServingStatus] = {}

    def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        status = self.statuses.get(request.service)
        if status is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service here")
        return health_pb2.HealthCheckResponse(status=status)

    def Watch(
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> NoReturn:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "health cannot be watched here; use Check")
        raise AssertionError("abort raises")


class SyncHealth:
    """Health of a threaded `grpc.server`; it can be asked, not watched."""

    def __init__(self, server: grpc.Server, services: Iterable[str]) -> None:
        """Register on a server that is not started yet; all names begin as NOT_SERVING.

        Args:
            server: The server to register on.
            services: Full names of its services, e.g. "rrl.learner.v1.Learner".
        """
        self._names = (WHOLE_PROCESS, *services)
        self._servicer = _CheckOnly()
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        self.set_serving(False)

    def set_serving(self, serving: bool) -> None:
        """Answer SERVING or NOT_SERVING from now on, for every name."""
        for name in self._names:
            self._servicer.statuses[name] = _status(serving)


class AsyncHealth:
    """Health of a `grpc.aio.server`; use inside its event loop."""

    def __init__(self, server: grpc.aio.Server, services: Iterable[str]) -> None:
        """Register on a server that is not started yet.

        Args:
            server: The server to register on.
            services: Full names of its services, e.g. "rrl.teacher.v1.Teacher".
        """
        self._names = (WHOLE_PROCESS, *services)
        self._servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set_serving(self, serving: bool, names: Iterable[str] | None = None) -> None:
        """Answer SERVING or NOT_SERVING from now on; call before the start too.

        Args:
            serving: Which.
            names: For these; None for every name there is.
        """
        for name in self._names if names is None else names:
            await self._servicer.set(name, _status(serving))


def is_serving(
    address: str,
    service: str = WHOLE_PROCESS,
    *,
    timeout_seconds: float,
    security: ClientSecurity | None = None,
) -> bool:
    """Ask once; False when nobody answers in time or the answer is anything but SERVING."""
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
        UserError: It did not within `timeout_seconds`.
    """
    end = time.monotonic() + timeout_seconds
    while (left := end - time.monotonic()) > 0:
        # A fresh channel per question: no reconnect back-off stands between us and a new server.
        if is_serving(address, service, timeout_seconds=min(left, _ONE_CHECK_SECONDS)):
            return
        time.sleep(min(_POLL_SECONDS, max(end - time.monotonic(), 0)))
    raise UserError(
        f"{service or 'the service'} at {address} was not serving within {timeout_seconds:g} s; "
        "look at its log, or give it more time"
    )
