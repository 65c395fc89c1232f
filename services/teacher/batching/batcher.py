"""Dynamic batching: concurrent queries share calls of the device.

Data flow, with what each arrow can fail with:

    submit ──▶ queue of a model ──▶ device threads ──▶ sink of the query
       │ RESOURCE_EXHAUSTED: no room,        │ DEADLINE_EXCEEDED: too late (timer thread)
       │   or the wait is too long           │ CANCELLED: not wanted any more
       ▼ UNAVAILABLE: closed                 ▼ INTERNAL: the policy failed

A `ModelQueue` belongs to one version of one model. All of them share the device threads, so
priorities hold across models; the queries of one batch are of one version, so no answer mixes
versions. A query is never split between batches. A GPU has one device thread; on CPUs a few small
batches in parallel get more done than one that all cores share.

The batcher is work-conserving: it never waits for more rows. Whatever is queued when the device
becomes free runs at once, and the next queries gather during that time, so batches grow with the
load. A device thread never holds the lock while it computes, so callers never wait for it. A timer
thread refuses late queries on time, not only when the batch before them ends.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_client import Priority
from rrl_client.requests import Refusal, RefusalCode
from services.teacher.batching.buckets import BucketPlan
from services.teacher.batching.priorities import PRIORITY_ROOM, FairShares, PriorityQueues
from services.teacher.batching.query import Query
from services.teacher.metrics import ModelStats
from services.teacher.policies.interface import Policy

_LOG = logging.getLogger(__name__)
_LAST_BATCH_SECONDS = 10.0
"""How long a shutdown waits for the batch on the device, which cannot be cancelled."""
_SHORTEST_RETRY_SECONDS = 0.02
_LOOK_SECONDS = 0.001
"""Least time between scans of the whole queue."""
_SLOWDOWN_SMOOTHING = 0.1
_MOST_SLOWDOWN = 4.0
_MIN_CONCURRENT_BATCH_ROWS = 16
"""Fewest rows that are worth a batch in parallel with another."""


class ModelQueue:
    """One version of one model, and its waiting queries."""

    def __init__(
        self, policy: Policy, plan: BucketPlan, stats: ModelStats, *, version: int = 1
    ) -> None:
        """Create the queue; `Batcher.add` begins to serve it.

        Args:
            policy: The policy; called by the device threads only.
            plan: The batch sizes to run.
            stats: Metrics of its batches and queries.
            version: Number of the version, for answers.
        """
        self.policy = policy
        self.plan = plan
        self.stats = stats
        self.version = version
        self.parameters_hash = policy.info.version
        self.queues = PriorityQueues()
        self.retired = False
        """Whether it accepts no more queries; set by the batcher."""
        self.slowdown = 1.0
        """Duration of batches now relative to warm-up, smoothed."""
        self._staging: dict[int, NDArray[Any]] = {}

    def compute(self, queries: Sequence[Query]) -> None:
        """Run a batch and set the queries' values; called by a device thread."""
        rows = sum(query.rows for query in queries)
        size = self.plan.holding(rows)
        start = time.perf_counter()
        values = self.policy.evaluate(self._gather(queries, rows, size))
        seconds = time.perf_counter() - start
        end = 0
        for query in queries:
            begin, end = end, end + query.rows
            query.values = values[begin:end]
            query.version = self.version
            query.parameters_hash = self.parameters_hash
        self.stats.batch_ended(rows, size - rows, seconds)
        # One stall says little about the next batches.
        slowdown = min(seconds / self.plan.seconds(size), _MOST_SLOWDOWN)
        self.slowdown += _SLOWDOWN_SMOOTHING * (slowdown - self.slowdown)

    def _gather(self, queries: Sequence[Query], rows: int, size: int) -> NDArray[Any]:
        """The rows of a batch in one array; the padding is left over from earlier batches.

        Each device thread has its own array.
        """
        if len(queries) == 1 and rows == size:
            return queries[0].observations
        thread = threading.get_ident()
        if thread not in self._staging:
            self._staging[thread] = self.policy.info.spec.zeros(self.plan.capacity)
        staging = self._staging[thread]
        np.concatenate([query.observations for query in queries], out=staging[:rows])
        return staging[:size]


class Batcher:
    """Runs queries through their policies, on its own threads.

    Attributes:
        queued_bytes: Bytes of waiting observations.
    """

    def __init__(
        self, *, max_queue_rows: int, max_queue_bytes: int, device_threads: int = 1
    ) -> None:
        """Start the threads.

        Args:
            max_queue_rows: Most rows waiting at once, over all models.
            max_queue_bytes: Most bytes of observations waiting at once.
            device_threads: Batches computed in parallel.
        """
        self._max_rows = max_queue_rows
        self._max_bytes = max_queue_bytes
        self._rows = [0] * len(Priority)
        self.queued_bytes = 0
        self._models: list[ModelQueue] = []
        self._shares = FairShares()
        self._busy_until: dict[int, float] = {}
        self._timer_due = math.inf
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

    def add(self, model: ModelQueue) -> None:
        """Serve a model from now on."""
        with self._lock:
            self._set_models([*self._models, model])

    def remove(self, model: ModelQueue, timeout_seconds: float) -> bool:
        """Stop serving a model that gets no new queries, once its waiting queries are settled.

        Returns:
            False if they are not settled within `timeout_seconds`; the model then stays.
        """
        end = time.monotonic() + timeout_seconds
        while time.monotonic() < end:
            with self._lock:
                if not any(model.queues.rows):
                    model.retired = True
                    self._set_models([other for other in self._models if other is not model])
                    return True
            time.sleep(0.01)
        return False

    def submit(self, query: Query, model: ModelQueue) -> None:
        """Queue a query; its sink is called when it is settled.

        Raises:
            Refusal: RESOURCE_EXHAUSTED, UNAVAILABLE, or FAILED_PRECONDITION when the model is
                retired; then the sink is not called.
        """
        now = time.monotonic()
        dead: list[Query] = []
        try:
            with self._lock:
                self._check_open(model)
                # Not for every query of a flood, because scanning the queue takes time.
                if not self._has_room(query) and now >= self._look_again_at:
                    dead = self._drop_dead(now)
                    self._look_again_at = now + _LOOK_SECONDS
                self._check_room(query, model, now)
                self._queue(query, model, now)
        finally:
            _settle(dead)

    def close(self, grace_seconds: float) -> None:
        """Refuse new queries, compute the queued ones, and end the threads.

        Args:
            grace_seconds: After this, waiting queries are refused with UNAVAILABLE.
        """
        with self._lock:
            self._closed = True
            while self._idle:
                self._wake_device()
        end = time.monotonic() + grace_seconds
        for device in self._devices:
            device.join(max(end - time.monotonic(), 0.0))
        with self._lock:
            left = self._drop(_mark_stopped)
            self._timer_moved.notify()
        _settle(left)
        for thread in (*self._devices, self._timer):
            thread.join(_LAST_BATCH_SECONDS)

    # Device threads.

    def _run(self) -> None:
        mine = threading.Condition(self._lock)
        while (batch := self._next_batch(mine)) is not None:
            model, queries = batch
            try:
                model.compute(queries)
            except Exception:
                # These queries fail, but the thread continues: the next ones may succeed.
                _LOG.exception("the policy failed on a batch")
                reason = "the policy failed; see the teacher's log"
                for query in queries:
                    query.refusal = Refusal(RefusalCode.INTERNAL, reason)
            with self._lock:
                self._busy_until.pop(threading.get_ident())
            _settle(queries)
            # Release the last batch's memory while waiting for the next one.
            del batch, model, queries

    def _next_batch(self, mine: threading.Condition) -> tuple[ModelQueue, list[Query]] | None:
        """Wait for queries; returns those to run now, or None at the end."""
        while True:
            with self._lock:
                while not self._should_start_batch():
                    if self._closed and not any(self._rows):
                        # Only this wakes a thread that found too few rows for its own batch.
                        self._wake_device()
                        return None
                    self._idle.append(mine)
                    mine.wait()
                model, queries, dead = self._take_batch(time.monotonic())
                # A submission wakes one thread; this one may leave work for another.
                self._wake_device()
            _settle(dead)
            del dead
            if queries:
                return model, queries

    def _take_batch(self, now: float) -> tuple[ModelQueue, list[Query], list[Query]]:
        """The queries to run now, and the dead queries of their model."""
        priority: Priority | None = self._shares.next_priority(self._rows)
        assert priority is not None, "rows wait"
        model, head = _oldest(self._models, priority)
        # The leading priority sets the size; the others fill what would be padding.
        room = max(model.plan.next_bucket(self._rows_beside_others(model, priority)), head.rows)
        queries: list[Query] = []
        dead: list[Query] = []
        while room and priority is not None:
            taken, dropped = model.queues.take(priority, room, lambda query: _mark_dead(query, now))
            rows = sum(query.rows for query in taken)
            self._shares.charge(priority, rows)
            self._forget([*taken, *dropped])
            room -= rows
            queries += taken
            dead += dropped
            waiting = [
                rows if (next_ := model.queues.head(other)) and next_.rows <= room else 0
                for other, rows in zip(Priority, model.queues.rows, strict=True)
            ]
            priority = self._shares.next_priority(waiting)
        if queries:
            seconds = model.plan.seconds(sum(query.rows for query in queries))
            self._busy_until[threading.get_ident()] = now + model.slowdown * seconds
            model.stats.taken(queries, now)
        return model, queries, dead

    def _rows_beside_others(self, model: ModelQueue, priority: Priority) -> int:
        """The rows of a priority that this device thread should take if others are idle."""
        rows = model.queues.rows[priority]
        idle = len(self._devices) - len(self._busy_until)
        if idle > 1:
            rows = min(rows, max(-(-rows // idle), _MIN_CONCURRENT_BATCH_ROWS))
        return rows

    # Timer thread.

    def _expire(self) -> None:
        while True:
            with self._lock:
                # Closing refuses the remaining queries; until then late queries are refused as
                # late.
                if self._closed and not any(self._rows):
                    return
                now = time.monotonic()
                if now < self._timer_due:
                    left = min(self._timer_due - now, threading.TIMEOUT_MAX)
                    self._timer_moved.wait(left)
                    continue
                dead = self._drop_dead(now)
            _settle(dead)
            del dead

    # Under the lock.

    def _set_models(self, models: list[ModelQueue]) -> None:
        self._models = models
        drains = (model.plan.seconds(self._max_rows) for model in models)
        self._worst_wait = _MOST_SLOWDOWN * sum(drains)

    def _check_open(self, model: ModelQueue) -> None:
        if self._closed:
            raise Refusal(RefusalCode.UNAVAILABLE, "the teacher is draining")
        if model.retired:
            raise Refusal(
                RefusalCode.FAILED_PRECONDITION,
                f"version {model.version} has been replaced; ask for the newest",
            )

    def _check_room(self, query: Query, model: ModelQueue, now: float) -> None:
        """Check that a query fits into the queue and can probably be answered in time."""
        if not self._has_room(query):
            model.stats.refused(query.priority, RefusalCode.RESOURCE_EXHAUSTED, "full")
            raise Refusal(
                RefusalCode.RESOURCE_EXHAUSTED,
                f"{sum(self._rows)} of {self._max_rows} rows ({self.queued_bytes >> 20} of "
                f"{self._max_bytes >> 20} MiB) are waiting, no room for {query.rows} more",
                retry_after_seconds=max(
                    self._predicted_wait(query, model, now), _SHORTEST_RETRY_SECONDS
                ),
            )
        # Most deadlines are far away, which saves the estimate.
        if query.deadline - now >= self._worst_wait:
            return
        wait = self._predicted_wait(query, model, now)
        if now + wait > query.deadline:
            model.stats.refused(query.priority, RefusalCode.RESOURCE_EXHAUSTED, "too_late")
            raise Refusal(
                RefusalCode.RESOURCE_EXHAUSTED,
                f"the answer would take about {1e3 * wait:.0f} ms, the deadline is in "
                f"{1e3 * max(query.deadline - now, 0):.0f} ms",
                retry_after_seconds=now + wait - query.deadline,
            )

    def _queue(self, query: Query, model: ModelQueue, now: float) -> None:
        query.queued_at = now
        query.stats = model.stats
        if not self._rows[query.priority]:
            self._shares.awake(query.priority)
        model.queues.add(query)
        self._rows[query.priority] += query.rows
        self.queued_bytes += query.observations.nbytes
        self._wake_device()
        if query.deadline < self._timer_due:
            self._timer_due = query.deadline
            self._timer_moved.notify()

    def _wake_device(self) -> None:
        """Wake the thread that became idle last, whose caches are warm."""
        if self._idle and (self._closed or self._should_start_batch()):
            self._idle.pop().notify()

    def _should_start_batch(self) -> bool:
        """Whether enough queries wait to compute in parallel with a running batch.

        A few rows are better left to the busy thread's next batch: two small batches in parallel
        slow each other down.
        """
        return sum(self._rows) >= (_MIN_CONCURRENT_BATCH_ROWS if self._busy_until else 1)

    def _has_room(self, query: Query) -> bool:
        """Whether the queue has room for it: less for lower priorities."""
        rows = sum(self._rows)
        if not rows:
            return True
        share = PRIORITY_ROOM[query.priority]
        return (
            rows + query.rows <= share * self._max_rows
            and self.queued_bytes + query.observations.nbytes <= share * self._max_bytes
        )

    def _predicted_wait(self, query: Query, model: ModelQueue, now: float) -> float:
        """Estimated seconds until the answer if nothing more important arrives; a lower bound."""
        devices = len(self._devices)
        wait = 0.0
        if len(self._busy_until) == devices:
            wait = max(min(self._busy_until.values()) - now, 0.0)
        for other in self._models:
            ahead = sum(other.queues.rows[: query.priority]) + other.queues.rows_before(query)
            if ahead:
                wait += other.slowdown * other.plan.seconds(ahead) / devices
        return wait + model.slowdown * model.plan.seconds(query.rows)

    def _drop_dead(self, now: float) -> list[Query]:
        """Remove late and cancelled queries."""
        dead = self._drop(lambda query: _mark_dead(query, now))
        deadlines = (query.deadline for model in self._models for query in model.queues)
        self._timer_due = max(min(deadlines, default=math.inf), now + _LOOK_SECONDS)
        return dead

    def _drop(self, is_dead: Callable[[Query], bool]) -> list[Query]:
        dropped = [query for model in self._models for query in model.queues.drop(is_dead)]
        self._forget(dropped)
        return dropped

    def _forget(self, queries: Sequence[Query]) -> None:
        for query in queries:
            self._rows[query.priority] -= query.rows
            self.queued_bytes -= query.observations.nbytes


def _oldest(models: Sequence[ModelQueue], priority: Priority) -> tuple[ModelQueue, Query]:
    """The model whose next query of a priority has waited longest, and that query."""
    heads = ((model, model.queues.head(priority)) for model in models)
    waiting = [(model, head) for model, head in heads if head is not None]
    return min(waiting, key=lambda found: found[1].queued_at)


def _mark_stopped(query: Query) -> bool:
    query.refusal = Refusal(RefusalCode.UNAVAILABLE, "the teacher stopped before this query's turn")
    return True


def _mark_dead(query: Query, now: float) -> bool:
    """Whether a query need not be computed; sets its refusal if so."""
    if query.cancelled:
        query.refusal = Refusal(RefusalCode.CANCELLED, "the query was cancelled")
    elif query.deadline <= now:
        query.refusal = Refusal(
            RefusalCode.DEADLINE_EXCEEDED, "the deadline passed before this query's turn"
        )
    return query.refusal is not None


def _settle(queries: Sequence[Query]) -> None:
    """Count the queries, and call every sink once with all of its queries."""
    now = time.monotonic()
    by_model: dict[int, list[Query]] = {}
    by_sink: dict[int, list[Query]] = {}
    for query in queries:
        by_model.setdefault(id(query.stats), []).append(query)
        by_sink.setdefault(id(query.sink), []).append(query)
    for settled in by_model.values():
        settled[0].stats.settled(settled, now)
    for settled in by_sink.values():
        settled[0].sink.settled(settled)
