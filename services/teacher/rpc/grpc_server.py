"""The gRPC server of an engine: contract, health of every model, reflection, security."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from grpc_reflection.v1alpha import reflection

from protos.rrl.teacher.v1 import teacher_pb2
from services.shared.errors import UserError
from services.shared.health import AsyncHealth
from services.teacher.config import TeacherConfig
from services.teacher.metrics import TeacherMetrics
from services.teacher.rpc.handlers import teacher_handlers
from services.teacher.rpc.loop_thread import LoopThread
from services.teacher.rpc.servicer import ListedEngine, TeacherServicer
from services.teacher.security import SecurityConfig, TokenInterceptor, server_credentials

SERVICE_NAME = teacher_pb2.DESCRIPTOR.services_by_name["Teacher"].full_name

_CLOSING_SECONDS = 0.5


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
        self._server: grpc.aio.Server
        self._servicer: TeacherServicer
        self._health: AsyncHealth

    def start(
        self, addresses: Sequence[str], security: SecurityConfig, *, share_port: bool = False
    ) -> int:
        """Listen; health says NOT_SERVING.

        Args:
            addresses: "host:port" or "unix:path", all with the same security.
            security: Encryption and tokens.
            share_port: Whether other processes listen on the same port.

        Returns:
            The TCP port of the first address.

        Raises:
            UserError: An address cannot be listened on, or a credential is unusable.
        """
        port = self._loop.run(self._start(addresses, security, share_port))
        self._is_started = True
        return port

    def set_serving(self, serving: bool) -> None:
        """Have health say so for every name; nothing happens while not started."""
        if self._is_started:
            self._loop.run(self._health.set_serving(serving))

    def stop(self, grace_seconds: float) -> None:
        """Answer what is under way, then close; the engine must refuse new queries already."""
        if self._is_started:
            self._is_started = False
            self._loop.run(self._stop(grace_seconds))

    async def _start(
        self, addresses: Sequence[str], security: SecurityConfig, share_port: bool
    ) -> int:
        batching = self._config.batching
        interceptors = []
        if security.token_file is not None:
            interceptors.append(TokenInterceptor(security.token_file))
        self._server = grpc.aio.server(
            interceptors=interceptors,
            options=self._options(share_port),
            # Every waiting request has at least one row; some room for health and reflection.
            maximum_concurrent_rpcs=2 * batching.max_queue_rows + 64,
        )
        self._servicer = TeacherServicer(
            self._engine,
            self._metrics,
            longest_wait_seconds=batching.longest_wait_seconds,
            stream_credit_rows=batching.stream_credit_rows,
        )
        self._server.add_generic_rpc_handlers((teacher_handlers(self._servicer),))
        names = dict.fromkeys(f"{SERVICE_NAME}/{model.name}" for model in self._config.models)
        self._health = AsyncHealth(self._server, [SERVICE_NAME, *names])
        await self._health.set_serving(False)
        services = (SERVICE_NAME, "grpc.health.v1.Health", reflection.SERVICE_NAME)
        reflection.enable_server_reflection(services, self._server)
        credentials = server_credentials(security)
        ports = [self._bind(address, credentials) for address in addresses]
        await self._server.start()
        return ports[0]

    def _bind(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        try:
            if credentials is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise UserError(f"the teacher cannot listen on {address}; choose another") from error

    async def _stop(self, grace_seconds: float) -> None:
        await self._servicer.drain(grace_seconds)
        # Queries are answered; what may be left are health watchers, who never end by themselves.
        await self._server.stop(_CLOSING_SECONDS)

    def _options(self, share_port: bool) -> list[tuple[str, int]]:
        return [
            ("grpc.max_receive_message_length", self._max_message_bytes),
            # Linux would let two servers share the port and each get some of the callers.
            ("grpc.so_reuseport", int(share_port)),
            # Clients check idle-looking connections every 30 s while a call is under way.
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ]
