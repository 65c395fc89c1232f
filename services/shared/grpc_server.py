"""One gRPC service on one port: limits, health and security alike for learner and replay.

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
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, TypeVar

import grpc
import grpc.aio

from rrl_client.addresses import format_address
from rrl_client.loop_thread import LoopThread
from services.shared.call_limits import CallLimits, ServerLimits
from services.shared.errors import UserError
from services.shared.health import Health
from services.shared.keepalive import SERVER_KEEPALIVE
from services.shared.security.interceptors import TokenCheck, TokenInterceptor
from services.shared.security.server import (
    SecurityConfig,
    check_exposure,
    server_credentials,
    warn_of_exposure,
)

SHORTEST_PING_SECONDS = 5
"""How often a client may ask whether the network is there; ours ask every 6 s during a call."""

_NEWS_SECONDS = 0.1

_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListenAddress:
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


def make_server(
    limits: ServerLimits, security: SecurityConfig, options: Sequence[tuple[str, Any]] = ()
) -> grpc.aio.Server:
    """A server without services that listens nowhere yet; call it in its event loop.

    Args:
        limits: What it takes on.
        security: Whose calls; encryption comes with the ports.
        options: Further channel arguments; they override those that are set here.

    Raises:
        UserError: The tokens cannot be used.
    """
    interceptors: list[Any] = [CallLimits(limits)]
    if security.token_file is not None:
        check = TokenCheck(security.token_file, revokes=security.missing_tokens_revoke)
        interceptors.insert(0, TokenInterceptor(check))
    # Of an argument that is given twice gRPC takes the first.
    arguments = {
        "grpc.max_receive_message_length": limits.max_request_bytes,
        "grpc.max_send_message_length": limits.max_response_bytes,
        "grpc.max_concurrent_streams": limits.calls_per_connection,
        # Two servers must not share a port silently.
        "grpc.so_reuseport": 0,
        "grpc.http2.min_ping_interval_without_data_ms": 1000 * SHORTEST_PING_SECONDS,
        **dict(SERVER_KEEPALIVE),
        **dict(options),
    }
    return grpc.aio.server(interceptors=interceptors, options=[*arguments.items()])


class GrpcServer:
    """One service on one port, with health.

    Args:
        name: Who listens, for errors: "the learner".
        service: Full name of its gRPC service, for health.
        listen: Where, and who may come in.
        limits: What it takes on.
        threads: For what its methods must wait for.
        add: Puts the service's methods, which have the threads, on a server.

    Raises:
        UserError: tokens would travel unencrypted over a network, or a credential is unusable.
    """

    def __init__(
        self,
        name: str,
        service: str,
        listen: ListenAddress,
        limits: ServerLimits,
        add: Callable[[grpc.aio.Server, Workers], object],
        *,
        threads: int = 1,
    ) -> None:
        check_exposure(listen.security, listen.host)
        self._name = name
        self._listen = listen
        self._credentials = server_credentials(listen.security)
        self._health = Health([service])
        self._loop = LoopThread(f"{service.rpartition('.')[2].lower()}-grpc")
        with contextlib.ExitStack() as unfinished:
            unfinished.callback(self._loop.close)
            self._workers = Workers(self._loop.name, threads)
            unfinished.callback(self._workers.close)
            self._server = self._loop.run(self._make(limits, add))
            unfinished.pop_all()

    async def _make(
        self, limits: ServerLimits, add: Callable[[grpc.aio.Server, Workers], object]
    ) -> grpc.aio.Server:
        server = make_server(limits, self._listen.security)
        self._health.add_to(server)
        add(server, self._workers)
        return server

    def start(self) -> int:
        """Listen; health says SERVING. Where other machines may ask anything, the log says so.

        Returns:
            The bound port.

        Raises:
            UserError: the port is taken.
        """
        port = self._loop.run(self._start())
        warn_of_exposure(self._listen.security, self._listen.host, name=self._name)
        return port

    async def _start(self) -> int:
        address = format_address(self._listen.host, self._listen.port)
        try:
            port = (
                self._server.add_insecure_port(address)
                if self._credentials is None
                else self._server.add_secure_port(address, self._credentials)
            )
        except RuntimeError as error:
            raise UserError(
                f"{self._name} cannot listen on {address}: the port is in use; stop what holds it "
                f"or choose another with {self._listen.port_flag}"
            ) from error
        await self._server.start()
        self._health.set_serving(True)
        return int(port)

    def stop(self, grace_seconds: float) -> None:
        """Let running calls finish, then stop; a second call does nothing.

        Work that a method has begun is waited for, even where its caller is gone.
        """
        if not self._loop.loop.is_closed():
            self._loop.run(self._stop(grace_seconds))
            self._workers.close()
            self._loop.close()

    async def _stop(self, grace_seconds: float) -> None:
        self._health.set_serving(False)
        # Whoever watches hears of it before calls are cut off.
        await asyncio.sleep(_NEWS_SECONDS)
        await self._server.stop(grace_seconds)


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
