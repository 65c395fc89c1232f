"""The server's end of the same-host path: one thread that serves every client of this host.

    client ── packet ──▶ listener's thread ── Query on shared memory ──▶ engine
       ▲                                                                   │
       └── packet ◀────────────── engine's thread ◀──────────── settled ───┘

Whoever settles queries sends their answers: a change of threads costs more than the packets, and
clients that all have their answers before the next batch is taken ask again in time to be in it.
With the answers sent by the listener's thread instead, batches fell apart into small ones.

A GOODBYE refuses a client: FAILED_PRECONDITION without the ticket (only who may call Describe has
it), NOT_FOUND for the model, RESOURCE_EXHAUSTED without room for more clients, INVALID_ARGUMENT for
packets that cannot be read, UNAVAILABLE when the server stops. A single query is refused as
`Engine.submit` says.
"""

from __future__ import annotations

import dataclasses
import hmac
import logging
import os
import secrets
import select
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from rrl_client.requests import Refusal, RefusalCode
from services.shared.errors import UserError
from services.teacher.batching.query import Engine, Query
from services.teacher.same_host import host, region, wire
from services.teacher.same_host.session import Gone, Service, Session, send_goodbye
from services.teacher.same_host.socket_directory import SocketDirectory

_LOG = logging.getLogger(__name__)
_GREETING_SECONDS = 5.0
_TICK_SECONDS = 1.0
_JOIN_SECONDS = 5.0
_TICKET_BYTES = 32
_LONGEST_SOCKET_PATH = 107
_ALIGNMENT_BYTES = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class SameHostConfig:
    """Limits of the same-host path.

    Attributes:
        rows_per_connection: Most rows of shared memory, so rows under way, of one client.
        max_connections: Most clients at once.
        max_total_bytes: Most shared memory over all clients; pages cost memory when first used.
        longest_timeout_seconds: For queries that ask for longer or name no deadline.
        directory: Where the socket's private directory is made; None for the user's runtime
            directory, else the one for temporary files.
    """

    rows_per_connection: int = 512
    max_connections: int = 256
    max_total_bytes: int = 4 << 30
    longest_timeout_seconds: float = 60.0
    directory: Path | None = None

    def __post_init__(self) -> None:
        """Check the limits."""
        for name in ("rows_per_connection", "max_connections", "max_total_bytes"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not self.longest_timeout_seconds > 0:
            raise UserError(
                f"longest_timeout_seconds is {self.longest_timeout_seconds}; it must be above 0"
            )


class SameHostListener:
    """Serves clients of this host, from its construction until `close`.

    Attributes:
        socket_path: For Describe's `SameHost`.
        host_id: For Describe's `SameHost`.
        ticket: For Describe's `SameHost`; a client shows it first.
    """

    def __init__(self, engine: Engine, config: SameHostConfig) -> None:
        """Make the socket and start the thread.

        Raises:
            UserError: The system lacks what it needs (ask `available` first), or the directory
                cannot be used.
        """
        if not available():
            raise UserError("the same-host path needs Linux; serve without it on this system")
        self.host_id = host.host_id()
        self.ticket = secrets.token_bytes(_TICKET_BYTES)
        self._engine = engine
        self._config = config
        self._directory, self._socket = _listen(config)
        self.socket_path = str(self._directory.path / "teacher.sock")
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._socket.fileno(), select.EPOLLIN)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._greeting: dict[int, tuple[socket.socket, float]] = {}
        self._sessions: dict[int, Session] = {}
        self._total_bytes = 0
        self._lock = threading.Lock()
        self._is_closing = False
        self._is_ended = False
        self._service = Service(
            engine, self, self._watch, self._released, config.longest_timeout_seconds
        )
        self._thread = threading.Thread(target=self._run, name="teacher-same-host", daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        """Clients connected now."""
        return len(self._sessions)

    @property
    def shared_bytes(self) -> int:
        """Shared memory that clients hold now, those whose last queries run included."""
        return self._total_bytes

    def settled(self, queries: Sequence[Query]) -> None:
        """Tell the clients; see `Sink`."""
        if len(queries) == 1:
            queries[0].mark[0].settle(queries)
            return
        by_session: dict[Session, list[Query]] = {}
        for query in queries:
            by_session.setdefault(query.mark[0], []).append(query)
        for session, of_session in by_session.items():
            session.settle(of_session)

    def close(self) -> None:
        """Disconnect everybody and remove the socket. Queries under way are cancelled."""
        with self._lock:
            self._is_closing = True
            if not self._is_ended:
                os.eventfd_write(self._wake, 1)
        self._thread.join(_JOIN_SECONDS)
        self._directory.close()

    # The listener's thread.

    def _run(self) -> None:
        while not self._is_closing:
            for descriptor, events in self._epoll.poll(_TICK_SECONDS if self._greeting else None):
                self._dispatch(descriptor, events)
            if self._greeting:
                self._drop_silent()
        self._end()

    def _dispatch(self, descriptor: int, events: int) -> None:
        # No local variable of `_run`: waiting there, it would keep the memory of who has left.
        session = self._sessions.get(descriptor)
        if session is not None:
            self._serve(session, descriptor, events)
        elif descriptor == self._wake:
            os.eventfd_read(self._wake)
        elif descriptor in self._greeting:
            self._greet(descriptor)
        elif descriptor == self._socket.fileno():
            self._accept()

    def _serve(self, session: Session, descriptor: int, events: int) -> None:
        try:
            if events & select.EPOLLOUT:
                session.flush()
            if events & ~select.EPOLLOUT:
                session.receive()
        except Gone:
            self._forget(session, descriptor, "")
        except wire.ProtocolError as error:
            # Only its text: who keeps log records would keep the session's memory.
            reason = str(error)
            _LOG.warning("a client on this host is disconnected: %s", reason)
            self._forget(session, descriptor, reason)

    def _forget(self, session: Session, descriptor: int, reason: str) -> None:
        # Closing takes the descriptor out of the epoll too.
        session.close(RefusalCode.INVALID_ARGUMENT, reason)
        del self._sessions[descriptor]

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:
            return
        except OSError as error:
            # Most likely out of descriptors: the backlog waits, and this must not spin.
            _LOG.warning("a client on this host could not be accepted: %s", error)
            time.sleep(0.05)
            return
        connection.setblocking(False)
        if len(self._greeting) >= self._config.max_connections:
            connection.close()
            return
        until = time.monotonic() + _GREETING_SECONDS
        self._greeting[connection.fileno()] = (connection, until)
        self._epoll.register(connection.fileno(), select.EPOLLIN)

    def _greet(self, descriptor: int) -> None:
        connection, _ = self._greeting.pop(descriptor)
        try:
            hello = wire.unpack_hello(connection.recv(wire.MAX_PACKET_BYTES + 1))
            self._sessions[descriptor] = self._welcome(connection, hello)
            return
        except Refusal as refusal:
            send_goodbye(connection, refusal.code, str(refusal))
        except wire.ProtocolError as error:
            send_goodbye(connection, RefusalCode.INVALID_ARGUMENT, str(error))
        except OSError as error:
            _LOG.warning("a client on this host could not be served: %s", error)
        except Exception:
            # Whatever the engine does, the thread goes on for the others.
            _LOG.exception("a client on this host could not be served")
            send_goodbye(connection, RefusalCode.INTERNAL, "the teacher failed; see its log")
        connection.close()

    def _welcome(self, connection: socket.socket, hello: wire.Hello) -> Session:
        if not hmac.compare_digest(hello.ticket, self.ticket):
            raise Refusal(
                RefusalCode.FAILED_PRECONDITION, "the ticket is not this server's; ask Describe"
            )
        layout = self._layout(hello)
        descriptor = region.create(layout)
        try:
            memory = region.Region(layout, descriptor)
            # Taken before it is handed out: a session that ends at once gives it back.
            with self._lock:
                self._total_bytes += layout.total_bytes
            session = Session(connection, memory, hello, self._service)
            try:
                socket.send_fds(connection, [wire.pack_welcome(layout)], [descriptor])
            except OSError:
                self._released(session)
                raise
        finally:
            os.close(descriptor)
        return session

    def _layout(self, hello: wire.Hello) -> wire.Layout:
        """The memory this client gets: what it asked for, as far as the limits allow."""
        most = self._config.max_connections
        if len(self._sessions) >= most:
            raise Refusal(
                RefusalCode.RESOURCE_EXHAUSTED, f"{most} clients are connected already; use gRPC"
            )
        description = self._engine.describe(hello.model, hello.version)
        row = wire.Layout(
            rows=1,
            num_actions=description.spec.num_actions,
            observation_shape=tuple(description.spec.observation_shape),
            observation_dtype=description.spec.observation_dtype,
        )
        room = self._config.max_total_bytes - self._total_bytes
        affordable = (room - _ALIGNMENT_BYTES) // (row.row_bytes + 4 * row.num_actions)
        rows = min(hello.rows, self._config.rows_per_connection, affordable)
        if rows < 1:
            raise Refusal(
                RefusalCode.RESOURCE_EXHAUSTED,
                f"all {self._config.max_total_bytes >> 20} MiB of shared memory are taken; "
                "use gRPC",
            )
        return dataclasses.replace(row, rows=rows)

    def _drop_silent(self) -> None:
        now = time.monotonic()
        for descriptor, (connection, until) in list(self._greeting.items()):
            if until <= now:
                del self._greeting[descriptor]
                connection.close()

    def _end(self) -> None:
        with self._lock:
            self._is_ended = True
            os.close(self._wake)
        for connection, _ in self._greeting.values():
            connection.close()
        for session in self._sessions.values():
            session.close(RefusalCode.UNAVAILABLE, "the teacher stops")
        self._greeting.clear()
        self._sessions.clear()
        self._socket.close()
        self._epoll.close()

    # Any thread.

    def _watch(self, descriptor: int, events: int) -> None:
        self._epoll.modify(descriptor, events)

    def _released(self, session: Session) -> None:
        with self._lock:
            self._total_bytes -= session.region.layout.total_bytes


def available() -> bool:
    """Whether this system can serve the same-host path."""
    return region.available() and hasattr(os, "eventfd") and hasattr(select, "epoll")


def _listen(config: SameHostConfig) -> tuple[SocketDirectory, socket.socket]:
    try:
        directory = SocketDirectory(config.directory)
    except OSError as error:
        raise UserError(f"no directory for the same-host socket: {error}") from error
    path = str(directory.path / "teacher.sock")
    if len(path.encode()) > _LONGEST_SOCKET_PATH:
        directory.close()
        raise UserError(
            f"{path} is too long for a socket ({_LONGEST_SOCKET_PATH} bytes); "
            "choose another directory for it"
        )
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(path)
    listening.listen(min(config.max_connections, socket.SOMAXCONN))
    listening.setblocking(False)
    return directory, listening
