"""The replay role's own gRPC face: which commit its tables stand on, and health.

    learner ── GetStanding, Restore, Checkpoint ──▶ ReplayRole
    probes ─── grpc.health.v1                       SERVING once the first tables were

Reverb speaks neither: its port carries items alone.
"""

from __future__ import annotations

import grpc

from protos.rrl.replay.v1 import replay_pb2, replay_pb2_grpc
from services.replay.connection import ReplayTimeout
from services.replay.control_client import MAX_MESSAGE_BYTES
from services.replay.role import OtherTables, ReplayRole
from services.replay.standing import Standing
from services.shared.errors import UserError
from services.shared.security.server import SecurityConfig
from services.shared.threaded_server import Door, ServerLimits, ThreadedServer

SERVICE_NAME = replay_pb2.DESCRIPTOR.services_by_name["Replay"].full_name

_LIMITS = ServerLimits(
    # A restore and a checkpoint take minutes; what stands, and health, are answered meanwhile.
    workers=4,
    # One learner asks, and probes.
    concurrent_calls=64,
    streams_per_connection=16,
    max_request_bytes=MAX_MESSAGE_BYTES,
    max_response_bytes=MAX_MESSAGE_BYTES,
)
_GRACE_SECONDS = 1.0


class _Servicer(replay_pb2_grpc.ReplayServicer):
    def __init__(self, role: ReplayRole) -> None:
        self._role = role

    def GetStanding(
        self, request: replay_pb2.GetStandingRequest, context: grpc.ServicerContext
    ) -> replay_pb2.GetStandingResponse:
        standing = self._role.standing
        if standing is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "tables are being loaded; ask again")
        return replay_pb2.GetStandingResponse(standing=_to_proto(standing))

    def Restore(
        self, request: replay_pb2.RestoreRequest, context: grpc.ServicerContext
    ) -> replay_pb2.RestoreResponse:
        try:
            standing = self._role.restore(request.commit, context.is_active)
        except LookupError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except UserError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except (RuntimeError, ReplayTimeout) as error:
            context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return replay_pb2.RestoreResponse(standing=_to_proto(standing))

    def Checkpoint(
        self, request: replay_pb2.CheckpointRequest, context: grpc.ServicerContext
    ) -> replay_pb2.CheckpointResponse:
        try:
            size = self._role.checkpoint(
                request.incarnation, request.commit, request.keep, context.is_active
            )
        except OtherTables as error:
            context.abort(grpc.StatusCode.ABORTED, str(error))
        except (OSError, RuntimeError, UserError) as error:
            context.abort(grpc.StatusCode.INTERNAL, f"tables not written: {error}")
        except ReplayTimeout as error:
            context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return replay_pb2.CheckpointResponse(bytes=size)


class ControlServer:
    """Serves one replay role's control and health on one port.

    Args:
        role: What is controlled; started and stopped by the caller.
        host: Interface to listen on.
        port: 0 picks a free one.
        security: Encryption and tokens.

    Raises:
        UserError: tokens would travel unencrypted over a network, or a credential is unusable.
    """

    def __init__(
        self,
        role: ReplayRole,
        *,
        host: str,
        port: int,
        security: SecurityConfig = SecurityConfig(),  # noqa: B008 - frozen
    ) -> None:
        door = Door(host=host, port=port, port_flag="--control-port", security=security)
        self._server = ThreadedServer("replay's control", SERVICE_NAME, door, _LIMITS)
        replay_pb2_grpc.add_ReplayServicer_to_server(_Servicer(role), self._server.grpc)

    def start(self) -> int:
        """Listen.

        Returns:
            The bound port.

        Raises:
            UserError: the port is taken.
        """
        return self._server.start()

    def stop(self) -> None:
        """Refuse new calls, and end."""
        self._server.stop(_GRACE_SECONDS)


def _to_proto(standing: Standing) -> replay_pb2.Standing:
    return replay_pb2.Standing(incarnation=standing.incarnation, commit=standing.commit)
