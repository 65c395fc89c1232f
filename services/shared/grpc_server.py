"""A gRPC server with limits, health and security, the same for all our services.

    connection ── TLS ──▶ call ── token ──▶ CallLimits ──▶ servicer, in the server's event loop
                                                              └ blocking work: `Workers`

The number of connections is unbounded, as gRPC for Python has no such limit. The calls in flight
per connection and in total are bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent import futures
from typing import Any, TypeAlias, TypeVar

import grpc
import grpc.aio

from rrl_client.addresses import format_address
from rrl_client.loop_thread import LoopThread
from services.shared.call_limits import CallLimits, ServerLimits
from services.shared.errors import UserError
from services.shared.health import Health
from services.shared.security.interceptors import TokenCheck
from services.shared.security.server import (
    SecurityConfig,
    check_exposure,
    server_credentials,
    warn_of_exposure,
)

SHORTEST_PING_SECONDS = 5
"""Shortest time between a client's keep-alive pings; ours ping every 6 s during a call."""

DEAD_PEER_SECONDS = 20
"""How long a client may be silent before its connection is closed. A machine that vanishes sends
nothing, and gRPC by default only checks after two hours."""

_NEWS_SECONDS = 0.1
_CLOSING_SECONDS = 0.5

_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListenAddress:
    """Where a server listens, and its security.

    Attributes:
        host: Interface to listen on.
        port: 0 picks a free one.
        port_flag: The flag that sets it, for the error if the port is in use.
        security: TLS and tokens.
        unix_socket: Path of a Unix socket to also listen on; None for none.
    """

    host: str
    port: int
    port_flag: str = "--port"
    security: SecurityConfig = dataclasses.field(default_factory=SecurityConfig)
    unix_socket: str | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses for gRPC, the port's first."""
        first = format_address(self.host, self.port)
        return (first,) if self.unix_socket is None else (first, f"unix:{self.unix_socket}")


Drain: TypeAlias = Callable[[float], Awaitable[None]]
"""Ends a service's calls within the given seconds."""


class GrpcServer:
    """A service with health checks.

    Args:
        name: Name for errors, e.g. "the learner".
        service: Full name of its gRPC service, for health.
        listen: Where to listen, and the security.
        limits: Its limits.
        add: Adds the service's methods, which get the threads, to a server; called in the event
            loop. The result, if any, ends the calls before the server stops.
        threads: Number of threads for blocking work.
        parts: Further health names.
        options: Further channel arguments, which override those set here.
        serves_at_once: Whether health says SERVING from `start` on.

    Raises:
        UserError: tokens would travel unencrypted over a network, or a credential is unusable.
    """

    def __init__(
        self,
        name: str,
        service: str,
        listen: ListenAddress,
        limits: ServerLimits,
        add: Callable[[grpc.aio.Server, Workers], Drain | None],
        *,
        threads: int = 1,
        parts: Sequence[str] = (),
        options: Sequence[tuple[str, Any]] = (),
        serves_at_once: bool = True,
    ) -> None:
        check_exposure(listen.security, listen.host)
        self._name = name
        self._listen = listen
        # Each port consumes the first certificate of its credentials, so they cannot be shared.
        self._credentials = [server_credentials(listen.security) for _ in listen.addresses]
        self._health = Health([service, *parts])
        self._serves_at_once = serves_at_once
        self._loop = LoopThread(f"{service.rpartition('.')[2].lower()}-grpc")
        with contextlib.ExitStack() as unfinished:
            unfinished.callback(self._loop.close)
            self._workers = Workers(self._loop.name, threads)
            unfinished.callback(self._workers.close)
            self._server, self._drain = self._loop.run(self._make(limits, options, add))
            unfinished.pop_all()

    async def _make(
        self,
        limits: ServerLimits,
        options: Sequence[tuple[str, Any]],
        add: Callable[[grpc.aio.Server, Workers], Drain | None],
    ) -> tuple[grpc.aio.Server, Drain | None]:
        security = self._listen.security
        interceptors: list[Any] = [CallLimits(limits)]
        if security.token_file is not None:
            check = TokenCheck(security.token_file, revokes=security.missing_tokens_revoke)
            interceptors.insert(0, check)
        # gRPC takes the first value of an argument that is given twice.
        arguments = {**_arguments(limits), **dict(options)}
        server = grpc.aio.server(interceptors=interceptors, options=[*arguments.items()])
        self._health.add_to(server)
        return server, add(server, self._workers)

    def start(self) -> int:
        """Listen. Logs a warning if other machines can call without credentials.

        Returns:
            The bound port.

        Raises:
            UserError: an address is in use, or the server cannot listen on it.
        """
        port = self._loop.run(self._start())
        warn_of_exposure(self._listen.security, self._listen.host, name=self._name)
        return port

    async def _start(self) -> int:
        each = zip(self._listen.addresses, self._credentials, strict=True)
        ports = [self._bind(address, credentials) for address, credentials in each]
        await self._server.start()
        self._health.set_serving(self._serves_at_once)
        return ports[0]

    def _bind(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        try:
            if credentials is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            # gRPC does not say why.
            why = "not allowed or no address of this machine"
            flags = f"--host or {self._listen.port_flag}"
            if address.startswith("unix:"):
                why, flags = "its folder is missing or closed to us", "--unix-socket"
            raise UserError(
                f"{self._name} cannot listen on {address}: it is in use, or {why}; stop what holds "
                f"it, or choose another with {flags}"
            ) from error

    def set_serving(self, serving: bool, names: Iterable[str] | None = None) -> None:
        """Set the health of some names, or of all."""
        self._loop.run(self._set_serving(serving, names))

    async def _set_serving(self, serving: bool, names: Iterable[str] | None) -> None:
        self._health.set_serving(serving, names)

    def stop(self, grace_seconds: float = 2.0) -> None:
        """Let running calls finish, then stop; a second call does nothing.

        Waits for started work, even if its caller is gone.
        """
        if not self._loop.loop.is_closed():
            self._loop.run(self._stop(grace_seconds))
            self._workers.close()
            self._loop.close()

    async def _stop(self, grace_seconds: float) -> None:
        self._health.set_serving(False)
        # Watchers get the new status before calls are aborted.
        await asyncio.sleep(_NEWS_SECONDS)
        if self._drain is not None:
            await self._drain(grace_seconds)
            # Only health watchers may be left, which never end by themselves.
            grace_seconds = _CLOSING_SECONDS
        await self._server.stop(grace_seconds)


def _arguments(limits: ServerLimits) -> dict[str, Any]:
    """Channel arguments of a server."""
    return {
        "grpc.max_receive_message_length": limits.max_request_bytes,
        "grpc.max_send_message_length": limits.max_response_bytes,
        "grpc.max_concurrent_streams": limits.calls_per_connection,
        # Two servers must not share a port silently.
        "grpc.so_reuseport": 0,
        "grpc.http2.min_ping_interval_without_data_ms": 1000 * SHORTEST_PING_SECONDS,
        # Ping after half of the time, and wait for the answer for the rest.
        "grpc.keepalive_time_ms": 500 * DEAD_PEER_SECONDS,
        "grpc.keepalive_timeout_ms": 500 * DEAD_PEER_SECONDS,
        # By default, gRPC gives a ping one minute.
        "grpc.http2.ping_timeout_ms": 500 * DEAD_PEER_SECONDS,
    }


class Workers:
    """Threads for a servicer's blocking work, all created at the start.

    Args:
        name: Name of the threads.
        count: Number of threads; further work waits.
    """

    def __init__(self, name: str, count: int) -> None:
        self._threads = futures.ThreadPoolExecutor(count, thread_name_prefix=name)
        # The executor would create threads on demand, when there may be none left.
        everybody = threading.Barrier(count)
        for ready in [self._threads.submit(everybody.wait) for _ in range(count)]:
            ready.result()

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """Run work in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """Wait for running work, then end the threads."""
        self._threads.shutdown()
