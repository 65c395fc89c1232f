"""Ways between two roles that can be cut: one TCP proxy per client and server.

    actor-0 ──▶ 127.0.0.1:LINK ──▶ 127.0.0.1:SERVER ──▶ replay

A link is as its server for as long as it passes: it listens while the server listens, and ends a
connection when the server does. Cut off, nothing crosses it, in one of three ways:

REFUSED    connections are reset and new ones refused: a service without endpoints
SILENT     nothing arrives and nothing is said; later, everything resumes: a network that is down
FORGOTTEN  the connections there are stay silent for ever, new ones pass: a firewall, or a host that
           was replaced, which remembers no connection

All links live on one event loop in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import threading
from collections.abc import Coroutine, Iterable
from typing import Any

from tests.faults.ports import LOOPBACK, listening_ports

_BLOCK_BYTES = 2**16
_LOOK_SECONDS = 0.05


class Cut(enum.Enum):
    """How a link is cut."""

    REFUSED = "refused"
    SILENT = "silent"
    FORGOTTEN = "forgotten"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinkConfig:
    """One way.

    Attributes:
        client: Role that connects.
        server: Role that is connected to.
        port: Where the client connects to.
        server_port: Where the server listens.
    """

    client: str
    server: str
    port: int
    server_port: int


class _Connection:
    """One client's connection and the one that was made for it."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.writers = [client]
        self.flows = asyncio.Event()
        self.is_forgotten = False

    def abort(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Link:
    """One way between two roles; its methods but `answered_bytes` belong to the event loop."""

    def __init__(self, config: LinkConfig) -> None:
        self.config = config
        self.answered_bytes = 0
        """What the server has sent to the client so far: a link in use shows a rise."""
        self._cut: Cut | None = None
        self._listener: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    async def follow(self, is_listening: bool) -> None:
        """Listen exactly while the server does and no fault refuses."""
        wanted = is_listening and self._cut is not Cut.REFUSED
        if wanted and self._listener is None:
            listener = await asyncio.start_server(
                self._serve, LOOPBACK, self.config.port, limit=_BLOCK_BYTES
            )
            # It may have been cut off while it was about to listen.
            if self._cut is Cut.REFUSED:
                listener.close()
            else:
                self._listener = listener
        elif not wanted and self._listener is not None:
            self._listener.close()
            self._listener = None

    def cut(self, how: Cut) -> None:
        """Let nothing through from now on."""
        self._cut = how
        if how is Cut.REFUSED and self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in self._connections:
            connection.flows.clear()
            connection.is_forgotten |= how is Cut.FORGOTTEN
            if how is Cut.REFUSED:
                connection.abort()

    def heal(self) -> None:
        """Let everything through again, but on connections that were forgotten."""
        self._cut = None
        for connection in self._connections:
            if not connection.is_forgotten:
                connection.flows.set()

    def close(self) -> None:
        """End everything."""
        if self._listener is not None:
            self._listener.close()
        for connection in self._connections:
            connection.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(writer)
        # Accepted just before the link was cut off.
        if self._cut is Cut.REFUSED:
            connection.abort()
            return
        self._connections.add(connection)
        if self._cut is None:
            connection.flows.set()
        try:
            await connection.flows.wait()
            server_reader, server_writer = await asyncio.open_connection(
                LOOPBACK, self.config.server_port, limit=_BLOCK_BYTES
            )
            connection.writers.append(server_writer)
            tasks = [
                asyncio.ensure_future(self._pump(connection, reader, server_writer, counts=False)),
                asyncio.ensure_future(self._pump(connection, server_reader, writer, counts=True)),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
        except OSError:
            # The server went away between two looks.
            pass
        finally:
            self._connections.discard(connection)
            connection.abort()

    async def _pump(
        self,
        connection: _Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        counts: bool,
    ) -> None:
        with contextlib.suppress(OSError):
            while block := await reader.read(_BLOCK_BYTES):
                await connection.flows.wait()
                # Counted before it is sent: what the client has received is always counted.
                if counts:
                    self.answered_bytes += len(block)
                writer.write(block)
                await writer.drain()
            # An end is news, too.
            await connection.flows.wait()


class Links:
    """All links of a system, on an event loop in a thread."""

    def __init__(self, configs: Iterable[LinkConfig]) -> None:
        self._links = [Link(config) for config in configs]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)

    def __enter__(self) -> Links:
        """Open the links."""
        self._thread.start()
        self._following = asyncio.run_coroutine_threadsafe(self._follow(), self._loop)
        return self

    def __exit__(self, *exception: object) -> None:
        """Close them all."""
        self._following.cancel()
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def port(self, client: str, server_port: int) -> int:
        """Where a client finds what listens at a server's port."""
        (found,) = (
            link.config.port
            for link in self._links
            if (link.config.client, link.config.server_port) == (client, server_port)
        )
        return found

    def answered(self) -> dict[tuple[str, str], int]:
        """Bytes that each client has had from each server so far."""
        total: dict[tuple[str, str], int] = {}
        for link in self._links:
            ends = (link.config.client, link.config.server)
            total[ends] = total.get(ends, 0) + link.answered_bytes
        return total

    def cut(self, roles: Iterable[str], how: Cut) -> None:
        """Cut roles off from all others."""
        self._call(self._each(roles, lambda link: link.cut(how)))

    def heal(self, roles: Iterable[str]) -> None:
        """Join roles with the others again."""
        self._call(self._each(roles, Link.heal))

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _each(self, roles: Iterable[str], change: Any) -> None:
        meant = set(roles)
        for link in self._links:
            if meant & {link.config.client, link.config.server}:
                change(link)

    async def _follow(self) -> None:
        while True:
            listening = listening_ports()
            for link in self._links:
                await link.follow(link.config.server_port in listening)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _close(self) -> None:
        for link in self._links:
            link.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
