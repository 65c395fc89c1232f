"""Assigns queries to the streams of replicas, and tracks them until they are settled.

    submit ─▶ waiting ─▶ outbox of a replica ─▶ under way ─▶ settled
                 ▲         (credit taken)          │
                 ├──── the stream broke ◀──────────┤
                 └──── full or draining, later ◀───┘

This module has no threads, sockets or clocks: one event loop calls it, and passes the time, in
seconds of `time.monotonic`. Queries are idempotent, so a query that a broken stream leaves
unanswered is sent again until its deadline, if necessary to another replica. Observations are put
into the memory that a stream shares with its server, or into the message if no rows are free.

A query goes to the replica with the fewest rows in flight among those with enough credit, and among
equal ones to the one that was used longest ago, so that a client with one query at a time uses all
of them equally. While no replica is connected, queries wait; after `OFFLINE_GRACE_SECONDS`, new
ones fail at once, so that an absent teacher does not block its callers. If no replica has ever been
connected, all queries fail at once. If a replica stays away while others answer, this is logged.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import logging
import math
import os
from collections.abc import Iterable
from typing import Any, Literal

from numpy.typing import NDArray

from rrl_client import codec
from rrl_client import errors as client_errors
from rrl_client.channel import LARGEST_ATTEMPTS, backoff_seconds
from rrl_client.errors import TeacherError, TeacherRejected, TeacherUnavailable
from rrl_client.requests import RefusalCode
from rrl_client.shared_memory import SharedRows, host_id
from rrl_client.v1 import teacher_pb2

_LOG = logging.getLogger(__name__)

OFFLINE_GRACE_SECONDS = 2.0
"""Time after which new queries fail at once, if no replica is connected."""

LONG_AWAY_SECONDS = 10.0
"""Time after which the log reports that one of several replicas is away; a restart may take that
long."""

FRAME_BYTES = 2**20
"""Most bytes of observations in one message, unless a single query has more."""


@dataclasses.dataclass(slots=True, eq=False)
class StreamQuery:
    """One query, from its submission until it is settled.

    Attributes:
        observations: [B, ...], in the byte order of this machine; must not change until the query
            is settled.
        request: The request, without the observations.
        deadline: Time at which the query is given up, in seconds of `time.monotonic`.
        owner: Any object that the driver attaches.
        tag: Number of the query, the same on every stream.
        attempts: Number of times that it was sent.
        memory_offset: Offset in bytes of its observations in the memory shared with its replica;
            None if they are in the message.
        outcome: The answer or the error, once the query is settled.
    """

    observations: NDArray[Any]
    request: teacher_pb2.EvaluateRequest
    deadline: float
    owner: Any = None
    tag: int = 0
    attempts: int = 0
    memory_offset: int | None = None
    outcome: teacher_pb2.EvaluateResponse | TeacherError | None = None

    @property
    def rows(self) -> int:
        """Number of observations."""
        return len(self.observations)


class Replica:
    """The state of one replica's stream.

    Attributes:
        address: Address of the replica, for error messages.
        is_open: Whether queries may be assigned: it has granted credit and is not draining.
        is_draining: Whether it has announced its end.
        away_since: Time at which its stream ended, or could not be opened; None once it is open
            again, and before the first attempt.
        is_reported: Whether its absence has been logged.
        last_turn: Number of the newest query that was assigned to it.
        memory: Shared memory for observations; None if all observations go into messages.
        memory_state: Whether the memory was offered on this stream, and accepted or declined.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.away_since: float | None = None
        self.is_reported = False
        self.last_turn = 0
        self.memory: SharedRows | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the stream."""
        self.is_open = False
        self.is_draining = False
        self.credit = 0
        self.granted = 0
        self.outbox: collections.deque[StreamQuery] = collections.deque()
        self.under_way: dict[int, StreamQuery] = {}
        self.cancelled_tags: list[int] = []
        self.memory_state: Literal["", "offered", "accepted", "declined"] = ""
        if self.memory is not None:
            self.memory.reset()

    @property
    def has_something_to_send(self) -> bool:
        """Whether `Dispatcher.take_frame` would return a frame."""
        return bool(self.outbox or self.cancelled_tags or self.should_offer)

    def put(self, observations: NDArray[Any]) -> int | None:
        """Put observations into the memory; None if they must go into the message."""
        if self.memory is None or self.memory_state != "accepted":
            return None
        return self.memory.put(observations)

    @property
    def should_offer(self) -> bool:
        """Whether there is memory that has not been offered on this stream."""
        return self.memory is not None and self.memory_state == "" and self.granted > 0


class Dispatcher:
    """All queries of one client, and the streams of its replicas.

    Attributes:
        replicas: The state of each stream.
        waiting_rows: Rows that wait for credit or a connection.
    """

    def __init__(self, addresses: Iterable[str], name: str) -> None:
        """Start without an open stream.

        Args:
            addresses: The address of each stream's replica.
            name: Name for error messages that are not about a single replica.
        """
        self.replicas = [Replica(address) for address in addresses]
        self._name = name
        self._waiting: collections.deque[StreamQuery] = collections.deque()
        self.waiting_rows = 0
        self._delayed: list[tuple[float, StreamQuery]] = []
        self._memory_size: tuple[int, int] | None = None
        self._next_tag = 1
        self._turns = 0
        self._was_seen = False
        self._away_since: float | None = None
        self._away_error: TeacherError | None = None
        self._settled: list[StreamQuery] = []

    def unsettled(self) -> list[StreamQuery]:
        """Every query without an outcome."""
        held: list[StreamQuery] = [*self._waiting, *(query for _, query in self._delayed)]
        for replica in self.replicas:
            held += replica.outbox
            held += replica.under_way.values()
        return [query for query in held if query.outcome is None]

    def take_settled(self) -> list[StreamQuery]:
        """The queries settled since the last call, whose outcomes the driver passes on."""
        settled, self._settled = self._settled, []
        return settled

    @property
    def next_event(self) -> float:
        """Latest time at which to call `tick`, in seconds of `time.monotonic`."""
        deadlines = (query.deadline for query in self.unsettled())
        return min(self.next_retry, min(deadlines, default=math.inf))

    @property
    def next_retry(self) -> float:
        """Time at which the next refused query is due for a retry; infinite if there is none."""
        return min((due for due, _ in self._delayed), default=math.inf)

    def share_memory(self, row_bytes: int, rows: int) -> None:
        """Offer shared memory on every stream, once; rows of another size go into messages."""
        if self._memory_size is None:
            self._memory_size = row_bytes, rows
            for replica in self.replicas:
                replica.memory = _shared_rows(row_bytes, rows)

    def add_replica(self, address: str) -> Replica:
        """Add a replica's stream, which is open once the replica grants credit."""
        replica = Replica(address)
        if self._memory_size is not None:
            replica.memory = _shared_rows(*self._memory_size)
        self.replicas.append(replica)
        return replica

    def submit(self, query: StreamQuery, now: float) -> None:
        """Accept a query; it may be settled at once."""
        query.tag = self._next_tag
        self._next_tag += 1
        away, grace = self._away_since, OFFLINE_GRACE_SECONDS if self._was_seen else 0.0
        if away is not None and now - away >= grace:
            self._settle(query, self._away(now))
            return
        self._wait(query)
        self._assign_waiting()

    def note_presence(self) -> None:
        """Note that the teacher answered another call, so that queries wait for its streams."""
        self._was_seen = True
        self._away_since = None

    def cancel(self, query: StreamQuery) -> None:
        """Give a query up."""
        self._give_up(query, client_errors.cancelled())

    def close(self) -> None:
        """Settle all queries, since the client was closed."""
        for query in self.unsettled():
            self._settle(query, client_errors.closed(self._name))
        self._waiting.clear()
        self.waiting_rows = 0
        self._delayed.clear()
        for replica in self.replicas:
            replica.reset()
            if replica.memory is not None:
                replica.memory.close()
                replica.memory = None

    def take_frame(self, replica: Replica, now: float) -> teacher_pb2.QueryFrame | None:
        """The next message for a replica's stream, with one or several queries; None if none."""
        frame = teacher_pb2.QueryFrame(cancelled_tags=replica.cancelled_tags)
        replica.cancelled_tags.clear()
        if replica.should_offer:
            _offer_memory(replica, frame)
        size = 0
        while replica.outbox:
            query = replica.outbox[0]
            if query.outcome is not None:
                # The query was given up: the next one may use its credit.
                replica.outbox.popleft()
                replica.credit += query.rows
                self._assign_waiting()
                continue
            query.memory_offset = replica.put(query.observations)
            if query.memory_offset is None:
                if size and size + query.observations.nbytes > FRAME_BYTES:
                    break
                size += query.observations.nbytes
            replica.outbox.popleft()
            query.attempts += 1
            replica.under_way[query.tag] = query
            _add_query(frame, query, now)
        has_content = frame.queries or frame.cancelled_tags or frame.HasField("memory")
        return frame if has_content else None

    def arrived(self, replica: Replica, frame: teacher_pb2.AnswerFrame, now: float) -> None:
        """Process a message from a replica; its first message opens its stream."""
        if frame.draining:
            replica.is_draining = True
            replica.is_open = False
            error = client_errors.unavailable(replica.address, "it is draining")
            self._note_absence(replica, error, now)
            while replica.outbox:
                self._wait(replica.outbox.pop(), first=True)
        elif replica.granted == 0 and frame.credit_rows:
            replica.is_open = True
            replica.granted = frame.credit_rows
            replica.away_since = None
            if replica.is_reported:
                replica.is_reported = False
                _LOG.warning("the teacher at %s answers again", replica.address)
            self._was_seen = True
            self._away_since = None
        replica.credit += frame.credit_rows
        if frame.HasField("memory_accepted"):
            replica.memory_state = "accepted" if frame.memory_accepted else "declined"
        for answer in frame.answers:
            query = replica.under_way.pop(answer.tag, None)
            if query is None:
                continue
            if query.memory_offset is not None and replica.memory is not None:
                replica.memory.give_back(query.memory_offset, query.rows)
                query.memory_offset = None
            # Queries that expired here are settled already.
            if query.outcome is not None:
                continue
            if answer.WhichOneof("result") == "response":
                self._settle(query, answer.response)
            else:
                self._refused(replica, query, answer.failure, now)
        self._assign_waiting()

    def broken(self, replica: Replica, error: TeacherError | None, now: float) -> None:
        """Process the end of a replica's stream.

        Args:
            replica: The replica.
            error: Why the stream ended; None if the replica closed it properly.
            now: The present time, in seconds of `time.monotonic`.
        """
        lost = [*replica.under_way.values(), *replica.outbox]
        replica.reset()
        for query in lost:
            query.memory_offset = None
        error = error or client_errors.unavailable(replica.address, "it closed the stream")
        self._note_absence(replica, error, now)
        self._reject_too_large(lost, error)
        for query in reversed(lost):
            if query.outcome is not None:
                continue
            if query.attempts >= LARGEST_ATTEMPTS:
                self._settle(query, copy.copy(error))
            else:
                self._wait(query, first=True)
        is_lasting = not isinstance(error, TeacherUnavailable)
        if self._away_since is not None and (is_lasting or not self._was_seen):
            # A retry would not help: no server, another service, a wrong token.
            for query in self.unsettled():
                self._settle(query, copy.copy(error))
        self._assign_waiting()

    def tick(self, now: float) -> None:
        """Give up queries past their deadline, and retry those that are due; call it often."""
        for query in self.unsettled():
            if query.deadline <= now:
                self._give_up(query, self._expiry_error(query, now))
        due = [query for when, query in self._delayed if when <= now]
        self._delayed = [entry for entry in self._delayed if entry[0] > now]
        for query in due:
            if query.outcome is None:
                self._wait(query)
        self._assign_waiting()

    def _settle(
        self, query: StreamQuery, outcome: teacher_pb2.EvaluateResponse | TeacherError
    ) -> None:
        query.outcome = outcome
        self._settled.append(query)

    def _give_up(self, query: StreamQuery, error: TeacherError) -> None:
        if query.outcome is not None:
            return
        for replica in self.replicas:
            if query.tag in replica.under_way:
                # The replica still answers the cancelled query, which returns its credit.
                replica.cancelled_tags.append(query.tag)
        self._settle(query, error)

    def _wait(self, query: StreamQuery, *, first: bool = False) -> None:
        (self._waiting.appendleft if first else self._waiting.append)(query)
        self.waiting_rows += query.rows

    def _assign_waiting(self) -> None:
        """Assign waiting queries, in order, to replicas with enough credit."""
        while self._waiting:
            query = self._waiting[0]
            if query.outcome is None:
                replica = _replica_for(query, self.replicas)
                if replica is None:
                    return
                self._turns += 1
                replica.last_turn = self._turns
                replica.outbox.append(query)
                replica.credit -= query.rows
            self._waiting.popleft()
            self.waiting_rows -= query.rows

    def _refused(
        self, replica: Replica, query: StreamQuery, failure: teacher_pb2.Failure, now: float
    ) -> None:
        """Process a refusal: retry if the query may succeed later or on another replica."""
        after = failure.retry_after_ms / 1000 if failure.retry_after_ms else None
        error = client_errors.error_of_code(
            failure.code, failure.message or "no details", replica.address, after
        )
        is_passing = failure.code in (RefusalCode.RESOURCE_EXHAUSTED, RefusalCode.UNAVAILABLE)
        due = now + backoff_seconds(query.attempts, after)
        if is_passing and query.attempts < LARGEST_ATTEMPTS and due < query.deadline:
            self._delayed.append((due, query))
        else:
            self._settle(query, error)

    def _reject_too_large(self, lost: list[StreamQuery], error: TeacherError) -> None:
        """If a message over the server's limit ended the stream, reject its largest queries."""
        if isinstance(error, TeacherRejected):
            sent = [query for query in lost if query.attempts and query.outcome is None]
            largest = max((query.observations.nbytes for query in sent), default=0)
            for query in sent:
                if query.observations.nbytes == largest:
                    self._settle(query, error)

    def _note_absence(self, replica: Replica, error: TeacherError, now: float) -> None:
        if replica.away_since is None:
            replica.away_since = now
        others = sum(other.is_open for other in self.replicas)
        away_for = now - replica.away_since
        if others and away_for >= LONG_AWAY_SECONDS and not replica.is_reported:
            _report(replica, away_for, others, error)
        # A replica that is still connecting does not count as away.
        is_away = all(each.away_since is not None for each in self.replicas)
        if not is_away or isinstance(error, TeacherRejected):
            return
        self._away_error = error
        if self._away_since is None:
            self._away_since = now

    def _away(self, now: float) -> TeacherError:
        error = self._away_error
        if error is not None and not isinstance(error, TeacherUnavailable):
            return copy.copy(error)
        since = now - (self._away_since if self._away_since is not None else now)
        why = "" if error is None else f": {error.details or error}"
        return client_errors.unavailable(self._name, f"away for {since:.0f} s{why}")

    def _expiry_error(self, query: StreamQuery, now: float) -> TeacherError:
        if any(query.tag in replica.under_way for replica in self.replicas):
            return client_errors.timed_out(self._name)
        if self._away_since is not None:
            return self._away(now)
        if any(replica.is_open for replica in self.replicas):
            return client_errors.overloaded(self._name, "it granted no credit before the deadline")
        return client_errors.unavailable(self._name, "it could not be reached before the deadline")


def _shared_rows(row_bytes: int, rows: int) -> SharedRows | None:
    try:
        return SharedRows(row_bytes, rows)
    except OSError as error:
        _LOG.info("no memory to share with the teacher (%s); observations go in messages", error)
        return None


def _report(replica: Replica, away_seconds: float, others: int, error: TeacherError) -> None:
    replica.is_reported = True
    _LOG.warning(
        "the teacher at %s has been away for %.0f s, %d other replicas answer: start it, or leave "
        "its address out (%s)",
        *(replica.address, away_seconds, others, error),
    )


def _offer_memory(replica: Replica, frame: teacher_pb2.QueryFrame) -> None:
    assert replica.memory is not None
    replica.memory_state = "offered"
    frame.memory.host_id = host_id()
    frame.memory.process_id = os.getpid()
    frame.memory.descriptor = replica.memory.descriptor
    frame.memory.size_bytes = replica.memory.size_bytes
    frame.memory.proof = replica.memory.proof


def _add_query(frame: teacher_pb2.QueryFrame, query: StreamQuery, now: float) -> None:
    message = frame.queries.add(
        tag=query.tag, timeout_ms=_timeout_ms(query.deadline - now), request=query.request
    )
    if query.memory_offset is not None:
        message.request.memory_offset = query.memory_offset
    else:
        message.request.observations = codec.observation_bytes(query.observations)


def _replica_for(query: StreamQuery, replicas: Iterable[Replica]) -> Replica | None:
    """The least busy replica with enough credit; a query larger than all credit is sent alone.

    The server refuses such a query with a message that says what fits.
    """
    with_room = [
        replica
        for replica in replicas
        if replica.is_open and replica.credit >= min(query.rows, replica.granted)
    ]
    return min(with_room, key=_busyness, default=None)


def _busyness(replica: Replica) -> tuple[int, int]:
    return replica.granted - replica.credit, replica.last_turn


def _timeout_ms(seconds: float) -> int:
    """The timeout as sent: a uint32 of at least 1, since 0 means the server's longest."""
    return int(min(max(1000 * seconds, 1), 2**32 - 1))
