"""A client's end of the same-host path; needs numpy only.

    connection = SameHostConnection(socket_path, ticket)         # from Describe's same_host
    future = connection.submit(observations, timeout_seconds=0.1)
    values = future.result().action_values                       # float32 [B, A]

Observations are copied into memory shared with the server, and a packet of 24 bytes says where. No
thread reads the answers: whoever waits for one reads the socket and settles the others' on the
way; when it has its own, it passes this on to the next that waits. An event loop watches `fileno`
and calls `process_ready` instead.

Failures are `Refusal`s. Once the server is gone, `closed` is True and the caller goes on over gRPC.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import select
import socket
import threading
import time
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl_client.requests import Priority, Refusal, RefusalCode
from services.teacher.same_host import refusals, wire
from services.teacher.same_host.dial import dial
from services.teacher.same_host.future import Callback, SameHostAnswer, SameHostFuture
from services.teacher.same_host.row_allocator import RowAllocator
from services.teacher.same_host.turns import Baton, Turns

_LOG = logging.getLogger(__name__)
_LONGEST_TIMEOUT_MS = 2**32 - 1
_LONGEST_POLL_MS = 2**31 - 1


class Reservation(NamedTuple):
    """Rows to write observations into, for `submit_reserved`.

    Attributes:
        first: First row.
        observations: [B, *observation_shape], writable, in shared memory.
    """

    first: int
    observations: NDArray[Any]


class SameHostConnection:
    """Asks a teacher on this host; safe to share between threads. A context manager.

    Attributes:
        layout: Rows granted and what they hold.
        closed: Whether it has ended, from either side.
    """

    def __init__(
        self,
        socket_path: str,
        ticket: bytes,
        *,
        model: str = "",
        version: str = "",
        rows: int = 512,
        is_watched: bool = False,
        connect_timeout_seconds: float = 5.0,
    ) -> None:
        """Connect.

        Args:
            socket_path: From Describe.
            ticket: From Describe.
            model: Name of the model; empty for the server's first.
            version: Version that must answer; empty for the newest.
            rows: Rows to have under way at most; the server may grant fewer.
            is_watched: Somebody calls `process_ready` whenever `fileno` is readable, so callbacks
                need no thread.
            connect_timeout_seconds: Deadline of this.

        Raises:
            Refusal: What the server says, or UNAVAILABLE when there is no server.
            ValueError: Name or version is too long, or no rows are asked for.
        """
        if rows < 1:
            raise ValueError(f"{rows} rows asked for; at least 1 is needed")
        hello = wire.Hello(rows, ticket, model, version)
        self._socket, memory = dial(socket_path, hello, connect_timeout_seconds)
        self.layout = memory.layout
        self.closed = False
        self._is_close_asked = False
        self._row_shape = self.layout.observation_shape
        self._dtype = memory.observations.dtype
        self._observations = memory.observations
        self._values = memory.values
        self._allocator = RowAllocator(self.layout.rows)
        self._futures: dict[int, SameHostFuture] = {}
        self._unsent: list[tuple[int | bytes, ...]] = []
        self._is_watched = is_watched
        self._lock = threading.Lock()
        self._turns = Turns(self._lock)
        self._want_rows: list[Baton] = []
        self._to_read: queue.SimpleQueue[SameHostFuture | None] | None = None
        self._readable = select.poll()
        self._readable.register(self._socket.fileno(), select.POLLIN)
        self._goodbye = Refusal(RefusalCode.UNAVAILABLE, "the connection is closed")

    def __enter__(self) -> SameHostConnection:
        """The connection itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    # Asking.

    def submit(
        self,
        observations: NDArray[Any],
        timeout_seconds: float,
        priority: Priority = Priority.ACTING,
        *,
        wait: bool = True,
        flush: bool = True,
    ) -> SameHostFuture:
        """Ask for the action values of a batch.

        Args:
            observations: [B, *observation_shape] of the teacher's dtype, 1 <= B <= granted rows.
            timeout_seconds: Above 0, when the answer becomes worthless.
            priority: What it is for.
            wait: Whether to wait for free rows, until the deadline.
            flush: Send now. False leaves it to `flush`, so that several queries are one packet;
                waiting for any answer sends too.

        Raises:
            ValueError: Shape or dtype differ from the teacher's, or there are too many rows.
            Refusal: RESOURCE_EXHAUSTED when no rows are free (in time), UNAVAILABLE when closed.
        """
        if observations.dtype != self._dtype or observations.shape[1:] != self._row_shape:
            raise ValueError(
                f"observations are {observations.dtype} {observations.shape}; the teacher takes "
                f"{self._dtype} [B, {', '.join(map(str, self._row_shape))}]"
            )
        rows = len(observations)
        deadline = time.monotonic() + timeout_seconds
        first = self._take_rows(rows, deadline if wait else None)
        self._observations[first : first + rows] = observations
        future = SameHostFuture(self, first, rows, deadline)
        self._send(future, timeout_seconds, priority, flush)
        return future

    def reserve(self, rows: int, timeout_seconds: float) -> Reservation:
        """Rows to write observations into directly, which saves a copy.

        Args:
            rows: Number of observations B.
            timeout_seconds: How long to wait for free rows.

        Raises:
            ValueError: More rows than were granted.
            Refusal: RESOURCE_EXHAUSTED or UNAVAILABLE as in `submit`.
        """
        first = self._take_rows(rows, time.monotonic() + timeout_seconds)
        return Reservation(first, self._observations[first : first + rows])

    def submit_reserved(
        self,
        reservation: Reservation,
        timeout_seconds: float,
        priority: Priority = Priority.ACTING,
        *,
        flush: bool = True,
    ) -> SameHostFuture:
        """Ask for the action values of what was written; the rows are not the caller's any more.

        Raises:
            Refusal: UNAVAILABLE when closed.
        """
        rows = len(reservation.observations)
        deadline = time.monotonic() + timeout_seconds
        future = SameHostFuture(self, reservation.first, rows, deadline)
        self._send(future, timeout_seconds, priority, flush)
        return future

    def give_back(self, reservation: Reservation) -> None:
        """Free reserved rows without asking anything."""
        with self._lock:
            self._free(reservation.first, len(reservation.observations))

    def flush(self) -> None:
        """Send what `submit` was told to leave."""
        with self._lock:
            self._flush()

    # Reading, for an event loop.

    def fileno(self) -> int:
        """The socket's descriptor; readable when `process_ready` has something to do."""
        return self._socket.fileno()

    def process_ready(self) -> None:
        """Settle what one packet brings, without waiting, and call its callbacks.

        To be called whenever `fileno` is readable (level-triggered, as asyncio watches). Afterwards
        look at `closed`: the descriptor of a lost server stays readable until `close`.
        """
        if self._lead():
            try:
                self._read()
            finally:
                self._pass_on()

    def close(self) -> None:
        """End the connection; what is under way fails with UNAVAILABLE."""
        self._lose(Refusal(RefusalCode.UNAVAILABLE, "the connection was closed on this side"))
        with self._lock:
            readers, self._to_read = self._to_read, None
            if readers is not None:
                readers.put(None)
            # Else its reader does, for whom the descriptor must stay this socket's.
            self._is_close_asked = True
            if not self._turns.is_led:
                self._socket.close()

    # What the futures call.

    def wait(self, future: SameHostFuture, end: float) -> None:
        """See `future.Owner`."""
        while future.outcome is None and time.monotonic() < end:
            if self._lead():
                try:
                    self._read_until(future, end)
                finally:
                    self._pass_on()
            else:
                self._follow(future, end)

    def poll(self, future: SameHostFuture) -> None:
        """See `future.Owner`."""
        if self._lead():
            try:
                while future.outcome is None and self._read():
                    pass
            finally:
                self._pass_on()

    def abandon(self, future: SameHostFuture, refusal: Refusal) -> bool:
        """See `future.Owner`."""
        with self._lock:
            if future.outcome is not None:
                return False
            self._settle(future, refusal)
            if not self.closed:
                # Only a hint: when the socket is full, the query is computed for nothing.
                _send_now(self._socket, wire.CANCELS.pack([(future.first,)]))
        self._call_back([future])
        return True

    def call_when_settled(self, future: SameHostFuture, callback: Callback) -> None:
        """See `future.Owner`."""
        with self._lock:
            is_settled = future.outcome is not None
            if not is_settled:
                future.callbacks.append(callback)
                if not self._is_watched:
                    self._read_in_background(future)
        if is_settled:
            callback(future)

    # Rows and sending.

    def _take_rows(self, rows: int, deadline: float | None) -> int:
        if not 1 <= rows <= self.layout.rows:
            raise ValueError(f"{rows} rows; this connection has 1 to {self.layout.rows} at once")
        while True:
            with self._lock:
                if self.closed:
                    raise self._lost()
                first = self._allocator.take(rows)
                if first is not None:
                    return first
                if deadline is None or time.monotonic() >= deadline:
                    raise Refusal(
                        RefusalCode.RESOURCE_EXHAUSTED,
                        f"{self.layout.rows} rows are under way, no room for {rows} more",
                    )
                # Enlisted before the lock is left: rows freed from here on wake it.
                baton = self._turns.enlist(self._want_rows) if self._turns.is_led else None
            if baton is not None:
                self._turns.stand_by(baton, deadline)
            elif self._lead():
                try:
                    self._await_packet(deadline)
                finally:
                    self._pass_on()

    def _send(
        self, future: SameHostFuture, timeout_seconds: float, priority: Priority, flush: bool
    ) -> None:
        # 0 would mean the server's longest.
        timeout_ms = min(max(int(1000 * timeout_seconds), 1), _LONGEST_TIMEOUT_MS)
        first = future.first
        with self._lock:
            if self.closed:
                raise self._lost()
            self._futures[first] = future
            if flush and not self._unsent:
                packet = wire.ONE_QUERY.pack(
                    wire.QUERY, first, first, future.rows, priority, timeout_ms
                )
                if _send_now(self._socket, packet):
                    return
            self._unsent.append((first, first, future.rows, priority, timeout_ms))
            if flush:
                self._flush()

    def _flush(self) -> None:
        """Send as far as the socket takes it; the rest goes when answers come. Under the lock."""
        while self._unsent and not self.closed:
            records = self._unsent[: wire.QUERIES_PER_PACKET]
            if not _send_now(self._socket, wire.QUERIES.pack(records)):
                return
            del self._unsent[: len(records)]

    # Reading, one thread at a time.

    def _lead(self) -> bool:
        with self._lock:
            if self._turns.is_led or self.closed:
                return False
            self._turns.is_led = True
            if self._unsent:
                self._flush()
            return True

    def _pass_on(self) -> None:
        with self._lock:
            self._turns.pass_on()
            if self._is_close_asked:
                self._socket.close()

    def _follow(self, future: SameHostFuture, end: float) -> None:
        with self._lock:
            # What changed since the caller looked is seen here.
            if not self._turns.is_led or future.outcome is not None:
                return
            baton = self._turns.enlist(future.batons)
        self._turns.stand_by(baton, end)

    def _read_until(self, future: SameHostFuture, end: float) -> None:
        while future.outcome is None and self._await_packet(end):
            pass

    def _await_packet(self, end: float) -> bool:
        """Wait for a packet and read it; False when none came."""
        left_ms = min(math.ceil(1000 * (end - time.monotonic())), _LONGEST_POLL_MS)
        return bool(self._readable.poll(max(left_ms, 0))) and self._read()

    def _read(self) -> bool:
        """Read one packet, if there is one, and settle what it says. The leader only."""
        try:
            packet = self._socket.recv(wire.MAX_PACKET_BYTES + 1)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            # The server ended with packets of ours unread; what it sent before comes next.
            return True
        except OSError as error:
            self._lose(Refusal(RefusalCode.UNAVAILABLE, f"the teacher is gone: {error}"))
            return False
        if not packet:
            self._lose(Refusal(RefusalCode.UNAVAILABLE, "the teacher closed the connection"))
            return False
        try:
            settled = self._understand(packet)
        except (wire.ProtocolError, KeyError) as error:
            self._lose(Refusal(RefusalCode.UNAVAILABLE, f"not a teacher's packet: {error}"))
            return False
        self._call_back(settled)
        return True

    def _understand(self, packet: bytes) -> list[SameHostFuture]:
        if len(packet) == wire.ONE_ANSWER.size:
            kind, tag, version, parameters_hash = wire.ONE_ANSWER.unpack(packet)
            if kind == wire.ANSWER:
                return self._take_answers(((tag, version, parameters_hash),))
        kind = wire.unpack_kind(packet)
        if kind == wire.ANSWER:
            return self._take_answers(tuple(wire.ANSWERS.unpack(packet)))
        failure = wire.unpack_failure(packet)
        if kind == wire.GOODBYE:
            self._lose(refusals.from_failure(failure))
            return []
        future = self._futures[failure.tag]
        self._finish([(future, refusals.from_failure(failure))])
        return [future]

    def _take_answers(self, records: tuple[tuple[Any, ...], ...]) -> list[SameHostFuture]:
        finished: list[tuple[SameHostFuture, SameHostAnswer | Refusal]] = []
        for tag, version, parameters_hash in records:
            future = self._futures[tag]
            values = self._values[tag : tag + future.rows].copy()
            # The sum of squares of finite values may overflow: then look at each.
            if math.isfinite(np.vdot(values, values)) or np.isfinite(values).all():
                name = parameters_hash.rstrip(b"\0").decode(errors="replace")
                finished.append((future, SameHostAnswer(values, name, version)))
            else:
                reason = "answer holds action values that are not finite"
                finished.append((future, Refusal(RefusalCode.INTERNAL, reason)))
        self._finish(finished)
        return [future for future, _ in finished]

    def _finish(self, finished: list[tuple[SameHostFuture, SameHostAnswer | Refusal]]) -> None:
        with self._lock:
            for future, outcome in finished:
                del self._futures[future.first]
                self._free(future.first, future.rows)
                if future.outcome is None:
                    self._settle(future, outcome)
            if self._unsent:
                self._flush()

    def _free(self, first: int, rows: int) -> None:
        self._allocator.give_back(first, rows)
        if self._want_rows:
            for baton in self._want_rows:
                self._turns.wake(baton)
            self._want_rows.clear()

    def _settle(self, future: SameHostFuture, outcome: SameHostAnswer | Refusal) -> None:
        """Under the lock; `_call_back` is to follow without it."""
        future.outcome = outcome
        for baton in future.batons:
            self._turns.wake(baton)

    def _call_back(self, settled: list[SameHostFuture]) -> None:
        for future in settled:
            if future.callbacks:
                with self._lock:
                    callbacks, future.callbacks = future.callbacks, []
                for callback in callbacks:
                    try:
                        callback(future)
                    except Exception:
                        _LOG.exception("a callback of a teacher's answer failed")

    # The end, and the reader in the background.

    def _lose(self, refusal: Refusal) -> None:
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self._goodbye = refusal
            futures = [future for future in self._futures.values() if future.outcome is None]
            self._futures.clear()
            for future in futures:
                self._settle(future, self._lost())
            self._turns.wake_everybody()
            # Wakes the leader, if another thread ends the connection.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._call_back(futures)

    def _lost(self) -> Refusal:
        """A new exception each: raising one adds to its traceback."""
        return Refusal(self._goodbye.code, str(self._goodbye), self._goodbye.retry_after_seconds)

    def _read_in_background(self, future: SameHostFuture) -> None:
        if self._to_read is None:
            self._to_read = queue.SimpleQueue()
            threading.Thread(
                target=self._read_for, args=(self._to_read,), name="same-host-reader", daemon=True
            ).start()
        self._to_read.put(future)

    def _read_for(self, wanted: queue.SimpleQueue[SameHostFuture | None]) -> None:
        """See to it that futures with callbacks are settled, at the latest at their deadline."""
        while (future := wanted.get()) is not None:
            with contextlib.suppress(Refusal):
                future.result()


def _send_now(connection: socket.socket, packet: bytes) -> bool:
    """Send a packet; False when the socket takes no more now."""
    try:
        connection.send(packet)
    except BlockingIOError:
        return False
    except OSError:
        # The server is gone; whoever reads learns it.
        pass
    return True
