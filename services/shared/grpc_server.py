"""One gRPC service on its addresses: limits, health and security alike for all our services.

    connection ── TLS ──▶ call ── token ──▶ CallLimits ──▶ servicer, in the server's event loop
                                                              └ blocking work: `Workers`

The number of connections is not bounded: gRPC for Python has no such limit. What one connection and
all of them together can have under way is.
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
"""How often a client may ask whether the network is there; ours ask every 6 s during a call."""

DEAD_PEER_SECONDS = 20
"""How long a client may be silent before its connection is closed: a machine that vanishes says
nothing, and gRPC by itself looks after two hours."""

_NEWS_SECONDS = 0.1
_CLOSING_SECONDS = 0.5

_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListenAddress:
    """Where a server listens, and who may come in.

    Attributes:
        host: Interface to listen on.
        port: 0 picks a free one.
        port_flag: The flag that changes it, named where the port is in use.
        security: Encryption and tokens.
        unix_socket: Path of a Unix socket to listen on, too; None for none.
    """

    host: str
    port: int
    port_flag: str = "--port"
    security: SecurityConfig = dataclasses.field(default_factory=SecurityConfig)
    unix_socket: str | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """As gRPC takes them; the port's is first."""
        first = format_address(self.host, self.port)
        return (first,) if self.unix_socket is None else (first, f"unix:{self.unix_socket}")


Drain: TypeAlias = Callable[[float], Awaitable[None]]
"""Has a service's calls end, within so many seconds."""


class GrpcServer:
    """One service with health.

    Args:
        name: Who listens, for errors: "the learner".
        service: Full name of its gRPC service, for health.
        listen: Where, and who may come in.
        limits: What it takes on.
        add: Puts the service's methods, which have the threads, on a server; called in the event
            loop. What it gives, if anything, ends the calls before the server stops.
        threads: For what its methods must wait for.
        parts: Further names of health.
        options: Further channel arguments; they override those that are set here.
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
        # Each port takes the first certificate of its credentials away: they cannot be shared.
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
        # Of an argument that is given twice gRPC takes the first.
        arguments = {**_arguments(limits), **dict(options)}
        server = grpc.aio.server(interceptors=interceptors, options=[*arguments.items()])
        self._health.add_to(server)
        return server, add(server, self._workers)

    def start(self) -> int:
        """Listen. Where other machines may ask anything, the log says so.

        Returns:
            The bound port.

        Raises:
            UserError: an address is taken, or cannot be listened on.
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
        """Have health say so, of some names or of all."""
        self._loop.run(self._set_serving(serving, names))

    async def _set_serving(self, serving: bool, names: Iterable[str] | None) -> None:
        self._health.set_serving(serving, names)

    def stop(self, grace_seconds: float = 2.0) -> None:
        """Let running calls finish, then stop; a second call does nothing.

        Work that a method has begun is waited for, even where its caller is gone.
        """
        if not self._loop.loop.is_closed():
            self._loop.run(self._stop(grace_seconds))
            self._workers.close()
            self._loop.close()

    async def _stop(self, grace_seconds: float) -> None:
        self._health.set_serving(False)
        # Watchers get the new status before calls are cut off.
        await asyncio.sleep(_NEWS_SECONDS)
        if self._drain is not None:
            await self._drain(grace_seconds)
            # What may be left are health watchers, who never end by themselves.
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
        # A question after half of the time, the answer within the rest.
        "grpc.keepalive_time_ms": 500 * DEAD_PEER_SECONDS,
        "grpc.keepalive_timeout_ms": 500 * DEAD_PEER_SECONDS,
        # Else gRPC gives a question a minute.
        "grpc.http2.ping_timeout_ms": 500 * DEAD_PEER_SECONDS,
    }


class Workers:
    """Threads for what a servicer's methods must wait for; all are there from the beginning.

    Args:
        name: Of the threads.
        count: How many; further work waits its turn.
    """

    def __init__(self, name: str, count: int) -> None:
        self._threads = futures.ThreadPoolExecutor(count, thread_name_prefix=name)
        # The executor makes threads as work comes: by then there may be none to be had.
        everybody = threading.Barrier(count)
        for ready in [self._threads.submit(everybody.wait) for _ in range(count)]:
            ready.result()

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """Have it done by one of them."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """Wait for what they do, and let them go."""
        self._threads.shutdown()
