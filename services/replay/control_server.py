"""The replay role's own gRPC service, besides Reverb: status, restore, save, and health.

learner ── GetStatus, Restore, Save ──▶ ReplayRole
probes ─── grpc.health.v1                 SERVING once the first tables are available
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio

from services.replay.control_client import MAX_MESSAGE_BYTES
from services.replay.failures import ReplayTimeout
from services.replay.role import GenerationChanged, ReplayRole
from services.replay.v1 import replay_pb2, replay_pb2_grpc
from services.shared.call_limits import ServerLimits
from services.shared.errors import UserError
from services.shared.grpc_server import GrpcServer, ListenAddress, Workers
from services.shared.security.server import SecurityConfig

SERVICE_NAME = replay_pb2.DESCRIPTOR.services_by_name["Replay"].full_name

_LIMITS = ServerLimits(
    # The callers are one learner and health probes.
    calls=64,
    calls_per_connection=16,
    max_request_bytes=MAX_MESSAGE_BYTES,
    max_response_bytes=MAX_MESSAGE_BYTES,
)
_THREADS = 4
"""A restore or a save takes minutes, and calls that their caller abandoned hold a thread, too."""

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class _Servicer(replay_pb2_grpc.ReplayServicer):
    def __init__(self, role: ReplayRole, workers: Workers) -> None:
        self._role = role
        self._workers = workers

    async def GetStatus(
        self, request: replay_pb2.GetStatusRequest, context: _Context
    ) -> replay_pb2.GetStatusResponse:
        served = self._role.served
        if served is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "tables are being loaded; ask again")
        return replay_pb2.GetStatusResponse(served=replay_pb2.ServedTables(**vars(served)))

    async def Restore(
        self, request: replay_pb2.RestoreRequest, context: _Context
    ) -> replay_pb2.RestoreResponse:
        is_active = _activity(context)
        try:
            served = await self._workers.run(
                lambda: self._role.restore(request.checkpoint, is_active)
            )
        except LookupError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except UserError as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except (RuntimeError, ReplayTimeout) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return replay_pb2.RestoreResponse(served=replay_pb2.ServedTables(**vars(served)))

    async def Save(
        self, request: replay_pb2.SaveRequest, context: _Context
    ) -> replay_pb2.SaveResponse:
        is_active = _activity(context)
        try:
            size = await self._workers.run(
                lambda: self._role.save(
                    request.generation, request.checkpoint, request.keep, is_active
                )
            )
        except GenerationChanged as error:
            await context.abort(grpc.StatusCode.ABORTED, str(error))
        except (OSError, RuntimeError, UserError) as error:
            await context.abort(grpc.StatusCode.INTERNAL, f"tables not written: {error}")
        except ReplayTimeout as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return replay_pb2.SaveResponse(bytes=size)


def _activity(context: _Context) -> Callable[[], bool]:
    """A function, safe to call from any thread, that says whether a call is still active."""
    over = threading.Event()
    context.add_done_callback(lambda _: over.set())  # type: ignore[arg-type]
    return lambda: not over.is_set()


def control_server(
    role: ReplayRole,
    *,
    host: str,
    port: int,
    security: SecurityConfig = SecurityConfig(),  # noqa: B008 - frozen
) -> GrpcServer:
    """The server of one replay role's control service and health checks; `start` starts it.

    Args:
        role: The role, which the caller starts and stops.
        host: Address to listen on.
        port: TCP port; 0 picks a free one.
        security: TLS and tokens.

    Raises:
        UserError: tokens would travel unencrypted over a network, or a credential is unusable.
    """

    def add(server: grpc.aio.Server, workers: Workers) -> None:
        replay_pb2_grpc.add_ReplayServicer_to_server(_Servicer(role, workers), server)

    listen = ListenAddress(host=host, port=port, port_flag="--control-port", security=security)
    return GrpcServer("replay's control", SERVICE_NAME, listen, _LIMITS, add, threads=_THREADS)
