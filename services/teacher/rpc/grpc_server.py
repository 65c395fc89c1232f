"""The gRPC server of an engine: contract, health of every model, reflection, security."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from grpc_reflection.v1alpha import reflection

from rrl_client.channel import EVALUATE_HEALTH_NAME, FLOW_CONTROL
from rrl_client.loop_thread import LoopThread
from rrl_client.v1 import teacher_pb2
from services.shared.call_limits import ServerLimits
from services.shared.errors import UserError
from services.shared.grpc_server import make_server
from services.shared.health import WHOLE_PROCESS, Health
from services.shared.security.server import SecurityConfig, server_credentials
from services.teacher.config import TeacherConfig
from services.teacher.metrics import TeacherMetrics
from services.teacher.rpc.handlers import teacher_handlers
from services.teacher.rpc.offered_memory import OfferedMemory
from services.teacher.rpc.servicer import ListedEngine, TeacherServicer

SERVICE_NAME = teacher_pb2.DESCRIPTOR.services_by_name["Teacher"].full_name

READING_BYTES = 256 * 2**20
"""Bound on calls that are being read, and the same for health."""

SHARED_BYTES = 256 * 2**20
SHARED_BYTES_IN_ALL = 4 * 2**30
"""Most memory of one client, and of all together, that is mapped: address space, and pages once
their client writes to them."""

_CLOSING_SECONDS = 0.5
_REQUEST_SECONDS = 10.0
"""Time for the largest request over a slow line."""
_KEPT_SECONDS = 1.0


class GrpcServer:
    """Listens, and answers with an engine; refusals before readiness are the engine's."""

    def __init__(
        self,
        config: TeacherConfig,
        engine: ListedEngine,
        metrics: TeacherMetrics,
        loop: LoopThread,
        *,
        max_message_bytes: int,
    ) -> None:
        """Prepare; nothing listens yet.

        Args:
            config: Models' names and limits.
            engine: What answers.
            metrics: What streams and refused requests are counted in.
            loop: Where it lives; the owner closes it.
            max_message_bytes: Largest message that is read.
        """
        self._config = config
        self._engine = engine
        self._metrics = metrics
        self._loop = loop
        self._max_message_bytes = max_message_bytes
        self._is_started = False
        models = dict.fromkeys(f"{SERVICE_NAME}/{model.name}" for model in config.models)
        self._names = (SERVICE_NAME, *models)
        self._server: grpc.aio.Server
        self._servicer: TeacherServicer
        self._health = Health([*self._names, EVALUATE_HEALTH_NAME])
        self._memories = OfferedMemory(
            SHARED_BYTES if config.shared_memory else 0, SHARED_BYTES_IN_ALL
        )
        metrics.memories = lambda: self._memories.count

    def start(self, addresses: Sequence[str], security: SecurityConfig) -> int:
        """Listen; health says NOT_SERVING.

        Args:
            addresses: "host:port" or "unix:path", all with the same security.
            security: Encryption and tokens.

        Returns:
            The TCP port of the first address.

        Raises:
            UserError: An address cannot be listened on, or a credential is unusable.
        """
        port = self._loop.run(self._start(addresses, security))
        self._is_started = True
        return port

    def set_serving(self, serving: bool, *, still_answers: bool = False) -> None:
        """Have health say so; nothing happens while not started.

        Args:
            serving: Whether it is to be asked.
            still_answers: Whether those who ask are answered nevertheless, until `stop`.
        """
        if self._is_started:
            names = (WHOLE_PROCESS, *self._names) if still_answers else None
            self._loop.run(self._set_serving(serving, names))

    def stop(self, grace_seconds: float) -> None:
        """Answer what is under way, then close; the engine must refuse new queries already."""
        if self._is_started:
            self._is_started = False
            self._loop.run(self._stop(grace_seconds))

    async def _start(self, addresses: Sequence[str], security: SecurityConfig) -> int:
        batching = self._config.batching
        limits = ServerLimits(
            # Every waiting request has at least one row; some room for reflection.
            calls=2 * batching.max_queue_rows + 64,
            # A client has a stream for each model and replica, or some unary calls under way; what
            # is beyond waits on the client's side.
            calls_per_connection=128,
            max_request_bytes=self._max_message_bytes,
            max_response_bytes=-1,
            reading_bytes=READING_BYTES,
            request_seconds=_REQUEST_SECONDS,
            kept_seconds=_KEPT_SECONDS,
        )
        self._server = make_server(limits, security, self._options())
        self._servicer = TeacherServicer(
            self._engine,
            self._metrics,
            memories=self._memories,
            longest_wait_seconds=batching.longest_wait_seconds,
            stream_credit_rows=batching.stream_credit_rows,
            connection_age_seconds=self._config.connection_age_seconds,
        )
        self._server.add_generic_rpc_handlers((teacher_handlers(self._servicer),))
        self._health.add_to(self._server)
        services = (SERVICE_NAME, "grpc.health.v1.Health", reflection.SERVICE_NAME)
        reflection.enable_server_reflection(services, self._server)
        # Each port takes the first certificate of its credentials away: they cannot be shared.
        ports = [self._bind(address, server_credentials(security)) for address in addresses]
        await self._server.start()
        return ports[0]

    def _bind(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        try:
            if credentials is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise UserError(f"the teacher cannot listen on {address}; choose another") from error

    async def _set_serving(self, serving: bool, names: Sequence[str] | None) -> None:
        self._health.set_serving(serving, names)

    async def _stop(self, grace_seconds: float) -> None:
        # Clients that have a choice turn to others now, and need not be refused first.
        self._health.set_serving(False, [EVALUATE_HEALTH_NAME])
        await self._servicer.drain(grace_seconds)
        # Queries are answered; what may be left are health watchers, who never end by themselves.
        await self._server.stop(_CLOSING_SECONDS)

    def _options(self) -> list[tuple[str, int]]:
        age = self._config.connection_age_seconds
        return [
            *FLOW_CONTROL,
            *(() if age is None else _age_options(age)),
        ]


def _age_options(age_seconds: float) -> tuple[tuple[str, int], ...]:
    """A connection of this age is told to end, and broken off when it is twice as old."""
    milliseconds = max(1, round(1000 * age_seconds))
    return (
        ("grpc.max_connection_age_ms", milliseconds),
        ("grpc.max_connection_age_grace_ms", milliseconds),
    )
