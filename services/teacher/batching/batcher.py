"""Dynamic batching: rows of concurrent queries share calls of the device.

Data flow, with what each arrow can fail with:

    submit ──▶ priorities of a channel ──▶ device threads ──▶ sink of the query
       │ RESOURCE_EXHAUSTED: no room,        │ DEADLINE_EXCEEDED: too late (timer thread)
       │   or the wait is too long           │ CANCELLED: nobody wants it any more
       ▼ UNAVAILABLE: closed                 ▼ INTERNAL: the policy failed

A channel is one version of one model. All channels share the device threads, so priorities hold
across models; the rows of one batch are of one channel, so no answer mixes versions. A GPU has one
device thread; on CPUs a few small batches side by side come to more than one that all cores share.

The batcher is work-conserving: there is no waiting for more rows. Whatever is queued when the
device becomes free runs at once, and while it runs the next rows gather; so the batch grows with
the load by itself. A device thread never holds the lock while it computes, and callers never wait
for it. Another thread sees to deadlines, so that a late query is told in time, not when the batch
before it ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_client import Priority
from rrl_client.requests import Refusal, RefusalCode
from services.teacher.batching.buckets import BucketPlan
from services.teacher.batching.priorities import PRIORITY_ROOM, FairShares, Piece, PriorityQueues
from services.teacher.batching.query import Query
from services.teacher.metrics import ModelTallies
from services.teacher.policies.interface import Policy

_LOG = logging.getLogger(__name__)
_LAST_BATCH_SECONDS = 10.0
"""How long an end waits for the batch that is on the device; it cannot be called back."""
_SHORTEST_RETRY_SECONDS = 0.02
_LOOK_SECONDS = 0.001
"""The whole queue is looked through at most this often."""
_SLOWDOWN_SMOOTHING = 0.1
_MOST_SLOWDOWN = 4.0
_FEWEST_ROWS_BESIDE = 16
"""Rows that are worth a batch beside another one."""


class Channel:
    """One version of one model, and the queries that wait for it."""

    def __init__(
        self, policy: Policy, plan: BucketPlan, tallies: ModelTallies, *, version: int = 1
    ) -> None:
        """Make it; `Batcher.add` begins to serve it.

        Args:
            policy: What computes; called by the device threads only.
            plan: Which batch size to run.
            tallies: What its batches and queries are counted in.
            version: Number of the version, for answers.
        """
        self.policy = policy
        self.plan = plan
        self.tallies = tallies
        self.version = version
        self.parameters_hash = policy.info.version
        self.queues = PriorityQueues()
        self.retired = False
        """Whether it takes no queries any more; the batcher's."""
        self.slowdown = 1.0
        """How much longer batches take now than at warm-up, smoothed."""
        self._staging: dict[int, NDArray[Any]] = {}
        self.row_bytes = policy.info.spec.row_bytes

    def gather(self, pieces: Sequence[Piece], bucket: int) -> NDArray[Any]:
        """The rows of a batch in one array; what pads it is left over from before.

        Each device thread has an array of its own.
        """
        views = [piece.query.observations[piece.start : piece.stop] for piece in pieces]
        if len(views) == 1 and len(views[0]) == bucket:
            return views[0]
        thread = threading.get_ident()
        if thread not in self._staging:
            self._staging[thread] = self.policy.info.spec.zeros(self.plan.largest)
        staging = self._staging[thread]
        np.concatenate(views, out=staging[: sum(map(len, views))])
        return staging[:bucket]


class Batcher:
    """Runs the rows of many queries through their policies, on threads of its own."""

    def __init__(
        self, *, max_queue_rows: int, max_queue_bytes: int, device_threads: int = 1
    ) -> None:
        """Start the threads.

        Args:
            max_queue_rows: Most rows waiting at once, over all channels.
            max_queue_bytes: Most bytes of observations waiting at once.
            device_threads: Batches computed side by side.
        """
        self._max_rows = max_queue_rows
        self._max_bytes = max_queue_bytes
        self._rows = 0
        self._priority_rows = [0] * len(Priority)
        self._bytes = 0
        self._channels: list[Channel] = []
        self._shares = FairShares()
        self._busy_until: dict[int, float] = {}
        self._timer_due = float("inf")
        self._look_again_at = 0.0
        self._closed = False
        self._worst_wait = 0.0
        self._lock = threading.Lock()
        self._idle: list[threading.Condition] = []
        self._timer_moved = threading.Condition(self._lock)
        self._devices = [
            threading.Thread(target=self._run, name=f"teacher-device-{index}", daemon=True)
            for index in range(device_threads)
        ]
        self._timer = threading.Thread(target=self._expire, name="teacher-timer", daemon=True)
        for thread in (*self._devices, self._timer):
            thread.start()

    @property
    def queued_bytes(self) -> int:
        """Bytes of observations that wait now."""
        return self._bytes

    def add(self, channel: Channel) -> None:
        """Serve a channel from now on."""
        with self._lock:
            self._set_channels([*self._channels, channel])

    def remove(self, channel: Channel, timeout_seconds: float) -> bool:
        """Stop serving a channel that gets no new queries, once those that wait are settled.

        Returns:
            False, and the channel stays, when they are not within `timeout_seconds`.
        """
        end = time.monotonic() + timeout_seconds
        while time.monotonic() < end:
            with self._lock:
                if not len(channel.queues):
                    channel.retired = True
                    self._set_channels([other for other in self._channels if other is not channel])
                    return True
            time.sleep(0.01)
        return False

    def submit(self, query: Query, channel: Channel) -> None:
        """Queue a query; its sink is told when it is settled.

        Raises:
            Refusal: RESOURCE_EXHAUSTED, UNAVAILABLE, or FAILED_PRECONDITION when the channel is
                retired; then the sink is not told.
        """
        now = time.monotonic()
        dead: list[Query] = []
        try:
            with self._lock:
                if self._closed:
                    raise Refusal(RefusalCode.UNAVAILABLE, "the teacher is draining")
                if channel.retired:
                    raise Refusal(
                        RefusalCode.FAILED_PRECONDITION,
                        f"version {channel.version} has been replaced; ask for the newest",
                    )
                # Not for every query of a flood: looking through the queue takes a while.
                if not self._has_room(query) and now >= self._look_again_at:
                    dead = self._drop_dead(now)
                    self._look_again_at = now + _LOOK_SECONDS
                self._admit(query, channel, now)
        finally:
            if dead:
                _settle(dead)

    def _admit(self, query: Query, channel: Channel, now: float) -> None:
        rows = len(query.observations)
        if not self._has_room(query):
            wait = self._predicted_wait(query, channel, now)
            channel.tallies.refused(query.priority, RefusalCode.RESOURCE_EXHAUSTED, "full")
            raise Refusal(
                RefusalCode.RESOURCE_EXHAUSTED,
                f"{self._rows} of {self._max_rows} rows ({self._bytes >> 20} of "
                f"{self._max_bytes >> 20} MiB) are waiting, no room for {rows} more",
                retry_after_seconds=max(wait, _SHORTEST_RETRY_SECONDS),
            )
        if query.deadline - now < self._worst_wait:
            self._check_in_time(query, channel, now)
        query.queued_at = now
        query.tallies = channel.tallies
        if not self._priority_rows[query.priority]:
            self._shares.awake(query.priority)
        channel.queues.add(query)
        self._rows += rows
        self._priority_rows[query.priority] += rows
        self._bytes += query.observations.nbytes
        self._wake_device()
        if query.deadline < self._timer_due:
            self._timer_due = query.deadline
            self._timer_moved.notify()

    def _check_in_time(self, query: Query, channel: Channel, now: float) -> None:
        wait = self._predicted_wait(query, channel, now)
        if now + wait > query.deadline:
            channel.tallies.refused(query.priority, RefusalCode.RESOURCE_EXHAUSTED, "too_late")
            raise Refusal(
                RefusalCode.RESOURCE_EXHAUSTED,
                f"the answer would take about {1e3 * wait:.0f} ms, the deadline is in "
                f"{1e3 * max(query.deadline - now, 0):.0f} ms",
                retry_after_seconds=now + wait - query.deadline,
            )

    def close(self, grace_seconds: float) -> None:
        """Take nothing more, compute what is queued, and end the threads.

        Args:
            grace_seconds: After this, whatever still waits is refused with UNAVAILABLE.
        """
        with self._lock:
            self._closed = True
            while self._idle:
                self._wake_device()
        end = time.monotonic() + grace_seconds
        for device in self._devices:
            device.join(max(end - time.monotonic(), 0.0))
        with self._lock:
            left = [
                query
                for channel in self._channels
                for query in self._take_out(channel, _mark_stopped)
            ]
            self._timer_moved.notify()
        _settle(_off_device(left))
        for thread in (*self._devices, self._timer):
            thread.join(_LAST_BATCH_SECONDS)

    # Device threads.

    def _run(self) -> None:
        mine = threading.Condition(self._lock)
        while (batch := self._next_batch(mine)) is not None:
            channel, pieces, bucket = batch
            # What waits for the next batch must not hold on to the last one's memory.
            del batch
            try:
                self._compute(channel, pieces, bucket)
            except Exception:
                # The failure of these queries, not of the thread: the next ones may pass.
                _LOG.exception("the policy failed on a batch")
                for piece in pieces:
                    piece.query.refusal = piece.query.refusal or Refusal(
                        RefusalCode.INTERNAL, "the policy failed; see the teacher's log"
                    )
            self._batch_ended(channel, pieces)
            del channel, pieces

    def _next_batch(self, mine: threading.Condition) -> tuple[Channel, list[Piece], int] | None:
        """Wait for rows; the pieces to run now with their batch size, or None at the end."""
        while True:
            with self._lock:
                while not self._is_worth_a_batch():
                    if self._closed and not self._rows:
                        # Nobody else wakes one that found too few rows for a batch of its own.
                        self._wake_device()
                        return None
                    self._idle.append(mine)
                    mine.wait()
                channel, pieces, bucket, dead = self._take_batch()
                dead = _off_device(dead)
                # A submission wakes one thread; this one may leave work for another.
                self._wake_device()
            _settle(dead)
            # While this waits, nothing here must hold on to a query's memory.
            del dead
            if pieces:
                return channel, pieces, bucket

    def _take_batch(self) -> tuple[Channel, list[Piece], int, list[Query]]:
        now = time.monotonic()
        priority = self._shares.next_priority(self._priority_rows)
        assert priority is not None
        channel = self._channels[0]
        if len(self._channels) > 1:
            channel = min(self._channels, key=lambda other: other.queues.oldest_since(priority))
        # The priority that leads sets the size; what would be padding is given to the others.
        rows = channel.queues.rows[priority]
        idle = len(self._devices) - len(self._busy_until)
        if idle > 1:
            rows = min(rows, max(-(-rows // idle), _FEWEST_ROWS_BESIDE))
        bucket = channel.plan.next_bucket(rows)
        pieces: list[Piece] = []
        dead: list[Query] = []
        room = bucket
        follower: Priority | None = priority
        while room and follower is not None:
            taken = channel.queues.take(follower, room, lambda query: _mark_dead(query, now))
            rows = sum(piece.rows for piece in taken.pieces)
            self._shares.charge(follower, rows)
            self._forget_rows(channel, follower, rows)
            self._forget_dead(channel, taken.dead)
            room -= rows
            pieces += taken.pieces
            dead += taken.dead
            follower = self._shares.next_priority(channel.queues.rows)
        if pieces:
            # The dead may have been most of them. What the plan would begin with may hold only some
            # of those left, which are one batch already.
            smaller = channel.plan.next_bucket(bucket - room)
            bucket = smaller if smaller >= bucket - room else bucket
            seconds = channel.slowdown * channel.plan.seconds(bucket)
            self._busy_until[threading.get_ident()] = now + seconds
        for piece in pieces:
            piece.query.batches += 1
        first_rows = (piece.query for piece in pieces if piece.start == 0)
        channel.tallies.taken(first_rows, now)
        return channel, pieces, bucket, dead

    def _compute(self, channel: Channel, pieces: Sequence[Piece], bucket: int) -> None:
        start = time.perf_counter()
        values = channel.policy.evaluate(channel.gather(pieces, bucket))
        seconds = time.perf_counter() - start
        rows = 0
        for piece in pieces:
            piece.query.values[piece.start : piece.stop] = values[rows : rows + piece.rows]
            rows += piece.rows
        channel.tallies.batch_ended(rows, bucket - rows, seconds)
        # One stall says little about the next batches.
        slowdown = min(seconds / channel.plan.seconds(bucket), _MOST_SLOWDOWN)
        channel.slowdown += _SLOWDOWN_SMOOTHING * (slowdown - channel.slowdown)

    def _batch_ended(self, channel: Channel, pieces: Sequence[Piece]) -> None:
        queries = [piece.query for piece in pieces]
        with self._lock:
            self._busy_until.pop(threading.get_ident())
            for query in queries:
                query.batches -= 1
            if any(query.refusal is not None for query in queries):
                # The rest of a failed query need not be computed.
                self._take_out(channel, lambda query: query.refusal is not None)
            # Under the lock: what is taken out here, the timer cannot settle too.
            done = [
                query
                for query in _off_device(queries)
                if query.refusal is not None or not query.rows_left
            ]
        for query in done:
            query.version = channel.version
            query.parameters_hash = channel.parameters_hash
        _settle(done)

    # Timer thread.

    def _expire(self) -> None:
        while True:
            with self._lock:
                # Closing refuses what is left; until then late queries are told they are late.
                if self._closed and not self._rows:
                    return
                now = time.monotonic()
                if now < self._timer_due:
                    left = min(self._timer_due - now, threading.TIMEOUT_MAX)
                    self._timer_moved.wait(left)
                    continue
                dead = self._drop_dead(now)
                earliest = min(
                    (channel.queues.earliest_deadline() for channel in self._channels),
                    default=float("inf"),
                )
                self._timer_due = max(earliest, now + _LOOK_SECONDS)
            _settle(dead)
            del dead

    # Under the lock.

    def _set_channels(self, channels: list[Channel]) -> None:
        self._channels = channels
        drains = (channel.plan.seconds(self._max_rows) for channel in channels)
        self._worst_wait = _MOST_SLOWDOWN * sum(drains)

    def _wake_device(self) -> None:
        """Wake the thread that was idle last, whose caches are warm."""
        if self._idle and (self._closed or self._is_worth_a_batch()):
            self._idle.pop().notify()

    def _is_worth_a_batch(self) -> bool:
        """Whether rows wait, and enough of them to compute beside a batch that is under way.

        Few rows are better off in the next batch of the device thread that is at work: two small
        batches side by side slow each other down.
        """
        return self._rows >= (_FEWEST_ROWS_BESIDE if self._busy_until else 1)

    def _has_room(self, query: Query) -> bool:
        """Whether the queue takes it: the lower its priority, the earlier it is full."""
        if not self._rows:
            return True
        share = PRIORITY_ROOM[query.priority]
        return (
            self._rows + len(query.observations) <= share * self._max_rows
            and self._bytes + query.observations.nbytes <= share * self._max_bytes
        )

    def _predicted_wait(self, query: Query, channel: Channel, now: float) -> float:
        """Seconds until the answer if nothing more important comes; rather too few than many."""
        devices = len(self._devices)
        wait = 0.0
        if len(self._busy_until) == devices:
            wait = max(min(self._busy_until.values()) - now, 0.0)
        for other in self._channels:
            ahead = sum(other.queues.rows[: query.priority]) + other.queues.turns(query.priority)
            if ahead:
                wait += other.slowdown * other.plan.seconds(ahead) / devices
        return wait + channel.slowdown * channel.plan.seconds(len(query.observations))

    def _drop_dead(self, now: float) -> list[Query]:
        """Take out what is late or cancelled; those to settle now (not on the device)."""
        found = [
            query
            for channel in self._channels
            for query in self._take_out(channel, lambda query: _mark_dead(query, now))
        ]
        return _off_device(found)

    def _take_out(self, channel: Channel, is_dead: Callable[[Query], bool]) -> list[Query]:
        dead = channel.queues.drop(is_dead)
        self._forget_dead(channel, dead)
        return dead

    def _forget_dead(self, channel: Channel, dead: Iterable[Query]) -> None:
        for query in dead:
            self._forget_rows(channel, query.priority, query.rows_left)

    def _forget_rows(self, channel: Channel, priority: Priority, rows: int) -> None:
        self._rows -= rows
        self._priority_rows[priority] -= rows
        self._bytes -= rows * channel.row_bytes


def _off_device(queries: Iterable[Query]) -> list[Query]:
    """Those without rows on a device, whose memory nobody touches any more; under the lock."""
    return [query for query in queries if not query.batches]


def _mark_stopped(query: Query) -> bool:
    query.refusal = Refusal(RefusalCode.UNAVAILABLE, "the teacher stopped before this query's turn")
    return True


def _mark_dead(query: Query, now: float) -> bool:
    """Whether a query need not be computed; then its refusal says why."""
    if query.cancelled:
        query.refusal = Refusal(RefusalCode.CANCELLED, "the query was cancelled")
    elif query.deadline <= now:
        query.refusal = Refusal(
            RefusalCode.DEADLINE_EXCEEDED, "the deadline passed before this query's turn"
        )
    return query.refusal is not None


def _settle(queries: Sequence[Query]) -> None:
    """Count them, and tell every sink once of all its queries."""
    now = time.monotonic()
    by_model: dict[int, list[Query]] = {}
    by_sink: dict[int, list[Query]] = {}
    for query in queries:
        by_model.setdefault(id(query.tallies), []).append(query)
        by_sink.setdefault(id(query.sink), []).append(query)
    for settled in by_model.values():
        settled[0].tallies.settled(settled, now)
    for settled in by_sink.values():
        settled[0].sink.settled(settled)
