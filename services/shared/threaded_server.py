"""A threaded gRPC server of one service: limits, health and security alike for learner and replay.

    connection ── TLS ──▶ call ── token ──▶ at most `concurrent_calls` ──▶ `workers` threads
                                                └ RESOURCE_EXHAUSTED: ask again

The number of connections is not bounded: gRPC for Python has no such limit. What one connection and
all of them together can have under way is.
"""

from __future__ import annotations

import dataclasses
from concurrent import futures
from typing import Any

import grpc

from services.shared.addresses import format_address
from services.shared.errors import UserError
from services.shared.health import SyncHealth
from services.shared.keepalive import SERVER_KEEPALIVE
from services.shared.security.interceptors import TokenCheck, TokenInterceptor
from services.shared.security.server import SecurityConfig, check_exposure, server_credentials

SHORTEST_PING_SECONDS = 5
"""How often a client may ask whether the network is there; ours ask every 6 s during a call."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerLimits:
    """What a server takes on.

    Attributes:
        workers: Threads that answer.
        concurrent_calls: Calls being answered or waiting for a thread; more are refused with
            RESOURCE_EXHAUSTED, which clients take as "ask again".
        streams_per_connection: Calls of one client; its further ones wait on its side.
        max_request_bytes: Largest message read.
        max_response_bytes: Largest message sent.
    """

    workers: int
    concurrent_calls: int
    streams_per_connection: int
    max_request_bytes: int
    max_response_bytes: int

    def __post_init__(self) -> None:
        """Refuse a server that could answer nothing."""
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(
                    f"{field.name} is {getattr(self, field.name)}; it must be at least 1"
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Door:
    """Where a server listens, and who may come in.

    Attributes:
        host: Interface to listen on.
        port: 0 picks a free one.
        port_flag: The flag that changes it, for whoever finds it taken.
        security: Encryption and tokens.
    """

    host: str
    port: int
    port_flag: str = "--port"
    security: SecurityConfig = dataclasses.field(default_factory=SecurityConfig)


class ThreadedServer:
    """One gRPC service on one port, with health; servicers are added to `grpc` before the start.

    Args:
        name: Who listens, for errors: "the learner".
        service: Full name of its gRPC service, for health.
        door: Where, and who may come in.
        limits: What it takes on.

    Raises:
        UserError: tokens would travel unencrypted over a network, or a credential is unusable.
    """

    def __init__(self, name: str, service: str, door: Door, limits: ServerLimits) -> None:
        check_exposure(door.security, door.host)
        self._name = name
        self._door = door
        self._credentials = server_credentials(door.security)
        short_name = service.rpartition(".")[2].lower()
        token_file = door.security.token_file
        self.grpc = grpc.server(
            futures.ThreadPoolExecutor(limits.workers, thread_name_prefix=f"{short_name}-grpc"),
            interceptors=[] if token_file is None else [TokenInterceptor(TokenCheck(token_file))],
            maximum_concurrent_rpcs=limits.concurrent_calls,
            options=_options(limits),
        )
        self._health = SyncHealth(self.grpc, [service])

    def start(self) -> int:
        """Listen; health says SERVING.

        Returns:
            The bound port.

        Raises:
            UserError: the port is taken.
        """
        address = format_address(self._door.host, self._door.port)
        try:
            port = (
                self.grpc.add_insecure_port(address)
                if self._credentials is None
                else self.grpc.add_secure_port(address, self._credentials)
            )
        except RuntimeError as error:
            raise UserError(
                f"{self._name} cannot listen on {address}: the port is in use; stop what holds it "
                f"or choose another with {self._door.port_flag}"
            ) from error
        self.grpc.start()
        self._health.set_serving(True)
        return int(port)

    def stop(self, grace_seconds: float) -> None:
        """Let running calls finish, then stop."""
        self._health.set_serving(False)
        self.grpc.stop(grace_seconds).wait()


def _options(limits: ServerLimits) -> list[tuple[str, Any]]:
    return [
        *SERVER_KEEPALIVE,
        ("grpc.max_receive_message_length", limits.max_request_bytes),
        ("grpc.max_send_message_length", limits.max_response_bytes),
        ("grpc.max_concurrent_streams", limits.streams_per_connection),
        # Two servers must not share a port silently.
        ("grpc.so_reuseport", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 1000 * SHORTEST_PING_SECONDS),
    ]
