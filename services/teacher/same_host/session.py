"""One client of the same-host path, seen from the server.

Packets come in on the listener's thread only. Answers go out from whichever thread settles the
queries; a lock keeps them apart from the end of the connection. What the socket does not take at
once waits in an outbox, of bounded length: who reads no answers is disconnected.

The memory lives as long as an array on it does, so a client that vanishes costs nothing but what
the device is reading at that moment.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rrl_client.requests import Priority, Refusal, RefusalCode
from services.teacher.batching.query import Engine, Query, Sink
from services.teacher.same_host import refusals, wire
from services.teacher.same_host.region import Region

_LOG = logging.getLogger(__name__)
_PRIORITIES = tuple(Priority)
_READ = select.EPOLLIN if hasattr(select, "EPOLLIN") else 0
_READ_AND_WRITE = _READ | (select.EPOLLOUT if hasattr(select, "EPOLLOUT") else 0)


class Gone(Exception):
    """The client has ended the connection."""


class Service(NamedTuple):
    """What every session of a listener works with.

    Attributes:
        engine: Answers queries.
        sink: Is told when they are settled; calls `Session.settle`.
        watch: Sets the poll events of a descriptor (epoll's `modify`).
        released: Called once per session, when its memory is in use no more.
        longest_timeout_seconds: For queries that ask for longer, or name none.
    """

    engine: Engine
    sink: Sink
    watch: Callable[[int, int], None]
    released: Callable[[Session], None]
    longest_timeout_seconds: float


class Session:
    """A connection after its greeting.

    Attributes:
        region: The memory shared with this client.
    """

    def __init__(
        self, connection: socket.socket, region: Region, hello: wire.Hello, service: Service
    ) -> None:
        """Take over a non-blocking, connected socket."""
        self.region = region
        self._socket = connection
        self._descriptor = connection.fileno()
        self._model = hello.model
        self._version = hello.version
        self._service = service
        self._rows = region.layout.rows
        self._under_way: dict[int, Query] = {}
        self._rows_begun = 0
        self._rows_settled = 0
        self._outbox: collections.deque[bytes] = collections.deque()
        self._is_closed = False
        self._lock = threading.Lock()

    # The listener's thread.

    def receive(self) -> None:
        """Read one packet and do what it says.

        Raises:
            Gone: The client has left.
            ProtocolError: The packet cannot be meant.
        """
        try:
            packet = self._socket.recv(wire.MAX_PACKET_BYTES + 1)
        except BlockingIOError:
            return
        except OSError as error:
            raise Gone from error
        if len(packet) == wire.ONE_QUERY.size:
            kind, tag, first, rows, priority, timeout_ms = wire.ONE_QUERY.unpack(packet)
            if kind == wire.QUERY:
                self._begin(tag, first, rows, priority, timeout_ms)
                return
        if not packet:
            raise Gone
        if len(packet) > wire.MAX_PACKET_BYTES:
            raise wire.ProtocolError(f"packet over {wire.MAX_PACKET_BYTES} bytes")
        kind = wire.unpack_kind(packet)
        if kind == wire.QUERY:
            for record in wire.QUERIES.unpack(packet):
                self._begin(*record)
        elif kind == wire.CANCEL:
            for (tag,) in wire.CANCELS.unpack(packet):
                # It may just have been settled: then there is nothing to cancel.
                query = self._under_way.get(tag)
                if query is not None:
                    query.cancelled = True
        else:
            raise wire.ProtocolError(f"packet of kind {kind} is not for a server")

    def _begin(self, tag: int, first: int, rows: int, priority: int, timeout_ms: int) -> None:
        end = first + rows
        if (
            not 1 <= rows <= end <= self._rows
            or priority >= len(_PRIORITIES)
            or tag in self._under_way
        ):
            raise wire.ProtocolError(
                f"query {tag} of rows {first} to {end} of priority {priority}; {self._rows} rows, "
                f"{len(_PRIORITIES)} priorities are there, and a tag is one query's at a time"
            )
        self._rows_begun += rows
        if self._rows_begun - self._rows_settled > self._rows:
            raise wire.ProtocolError(f"more rows are under way than the {self._rows} granted")
        longest = self._service.longest_timeout_seconds
        timeout = min(timeout_ms / 1000, longest) if timeout_ms else longest
        query = Query(
            self.region.observations[first:end],
            self.region.values[first:end],
            deadline=time.monotonic() + timeout,
            priority=_PRIORITIES[priority],
            sink=self._service.sink,
            mark=(self, tag),
        )
        self._under_way[tag] = query
        try:
            self._service.engine.submit(query, self._model, self._version)
        except Refusal as refusal:
            query.refusal = refusal
            self.settle((query,))
        except Exception:
            # The failure of this query, not of the thread that serves all clients.
            _LOG.exception("a query of a client on this host could not be queued")
            query.refusal = Refusal(
                RefusalCode.INTERNAL, "the teacher failed; see the teacher's log"
            )
            self.settle((query,))

    def flush(self) -> None:
        """Send what waits for the client to read, as far as it goes."""
        with self._lock:
            if not self._is_closed:
                self._flush()

    def close(self, code: RefusalCode, reason: str = "") -> None:
        """End the connection, with a GOODBYE where there is a reason, and cancel its queries."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            if reason:
                send_goodbye(self._socket, code, reason)
            self._socket.close()
            self._outbox.clear()
            for query in list(self._under_way.values()):
                query.cancelled = True
            is_released = not self._under_way
        if is_released:
            self._service.released(self)

    # Any thread.

    def settle(self, queries: Sequence[Query]) -> None:
        """Tell the client of its queries that have values or a refusal now."""
        packets = _packets(queries)
        with self._lock:
            for query in queries:
                self._under_way.pop(query.mark[1], None)
                self._rows_settled += len(query.observations)
            if not self._is_closed:
                self._send(packets)
                return
            is_released = not self._under_way
        if is_released:
            self._service.released(self)

    # Under the lock.

    def _send(self, packets: Sequence[bytes]) -> None:
        if self._outbox:
            self._outbox.extend(packets)
            # An honest client has no more unread answers than rows.
            if len(self._outbox) > self._rows:
                _LOG.warning("a client on this host reads no answers; it is disconnected")
                self._outbox.clear()
                self._hang_up()
            return
        for position, packet in enumerate(packets):
            try:
                self._socket.send(packet)
            except BlockingIOError:
                self._outbox.extend(packets[position:])
                self._service.watch(self._descriptor, _READ_AND_WRITE)
                return
            except OSError:
                return  # It is gone; the listener's thread learns it from the socket.

    def _flush(self) -> None:
        try:
            while self._outbox:
                self._socket.send(self._outbox[0])
                self._outbox.popleft()
        except BlockingIOError:
            return
        except OSError:
            self._outbox.clear()
        self._service.watch(self._descriptor, _READ)

    def _hang_up(self) -> None:
        """Let the listener's thread find the connection at its end."""
        # A socket whose other end has just gone cannot be shut down, and need not be.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def send_goodbye(connection: socket.socket, code: RefusalCode, reason: str) -> None:
    """Tell a client why its connection ends, if it can be told at once."""
    # A client that is gone or does not read learns nothing but the end.
    with contextlib.suppress(OSError):
        connection.send(wire.pack_goodbye(code, reason), socket.MSG_DONTWAIT)


def _packets(queries: Sequence[Query]) -> list[bytes]:
    if len(queries) == 1 and queries[0].refusal is None:
        query = queries[0]
        hashed = query.parameters_hash.encode()
        return [wire.ONE_ANSWER.pack(wire.ANSWER, query.mark[1], query.version, hashed)]
    answers = [
        (query.mark[1], query.version, query.parameters_hash.encode())
        for query in queries
        if query.refusal is None
    ]
    step = wire.ANSWERS_PER_PACKET
    packets = [
        wire.ANSWERS.pack(answers[start : start + step]) for start in range(0, len(answers), step)
    ]
    for query in queries:
        if query.refusal is not None:
            failure = refusals.to_failure(query.mark[1], query.refusal)
            packets.append(wire.pack_failure(failure))
    return packets
