"""Dynamic batching: rows of concurrent requests share calls of the device.

Data flow, with what each arrow can fail with:

    submit ──▶ queue (bounded, in rows) ──▶ device thread ──▶ future of the request
       │ QueueFull: no room for the rows        │ DeadlinePassed: too late, never computed
       │ Stopped: closed                        │ Stopped: closed before its turn
       ▼                                        ▼ what the policy raised

The batcher is work-conserving: there is no waiting for more rows. Whatever is queued when the
device becomes free runs at once, and while it runs the next rows gather; so the batch grows with
the load by itself. A request may be spread over several batches. One thread owns the device: it
never holds the lock while it computes, and callers never wait for it.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.teacher.buckets import BucketPlan
from services.teacher.metrics import TeacherMetrics
from services.teacher.policy import Policy

_LAST_BATCH_SECONDS = 10.0
"""How long an end waits for the batch that is on the device; it cannot be called back."""


class QueueFull(Exception):
    """There is no room for the rows."""


class DeadlinePassed(Exception):
    """The request's turn came after its deadline."""


class Stopped(Exception):
    """The batcher takes, or computes, nothing more."""


@dataclasses.dataclass(eq=False)
class _Work:
    """One request: [B, ...] rows, of which `taken` are computed or being computed."""

    observations: NDArray[Any]
    deadline: float
    values: NDArray[np.float32]
    future: concurrent.futures.Future[NDArray[np.float32]]
    taken: int = 0

    @property
    def rows_left(self) -> int:
        return len(self.observations) - self.taken

    def take(self, rows: int) -> _Piece:
        start = self.taken
        self.taken += min(rows, self.rows_left)
        return _Piece(self, slice(start, self.taken))


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Some rows of one request, for one batch."""

    work: _Work
    rows: slice

    @property
    def count(self) -> int:
        return int(self.rows.stop - self.rows.start)


class Batcher:
    """Runs the rows of many requests through one policy, on a thread of its own."""

    def __init__(
        self,
        policy: Policy,
        plan: BucketPlan,
        *,
        max_queue_rows: int,
        metrics: TeacherMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the device thread.

        Args:
            policy: What computes; called by the device thread only.
            plan: Which batch size to run.
            max_queue_rows: Most rows waiting at once.
            metrics: What batches and waiting rows are counted in.
            clock: Seconds; deadlines are on this clock.
        """
        self._policy = policy
        self._plan = plan
        self._max_queue_rows = max_queue_rows
        self._metrics = metrics
        self._clock = clock
        self._queue: collections.deque[_Work] = collections.deque()
        self._queued_rows = 0
        self._closed = False
        self._changed = threading.Condition()
        self._staging: dict[int, NDArray[Any]] = {}
        self._thread = threading.Thread(target=self._run, name="teacher-device", daemon=True)
        self._thread.start()

    def submit(
        self, observations: NDArray[Any], deadline: float
    ) -> concurrent.futures.Future[NDArray[np.float32]]:
        """Queue a request.

        Args:
            observations: [B, *observation_shape], B >= 1; must not change until answered.
            deadline: When the answer becomes worthless, in seconds of the clock.

        Returns:
            Future of float32 [B, A]; it may be cancelled as long as it is not done.

        Raises:
            QueueFull: The rows have no room.
            Stopped: The batcher is closed.
        """
        rows = len(observations)
        values = np.empty((rows, self._policy.info.num_actions), np.float32)
        work = _Work(observations, deadline, values, concurrent.futures.Future())
        with self._changed:
            if self._closed:
                raise Stopped("the teacher is draining")
            if self._queued_rows + rows > self._max_queue_rows:
                self._drop_dead(self._max_queue_rows)
            if self._queued_rows + rows > self._max_queue_rows:
                raise QueueFull(
                    f"{self._queued_rows} of {self._max_queue_rows} rows are waiting, "
                    f"no room for {rows} more"
                )
            self._queue.append(work)
            self._count_rows(rows)
            self._changed.notify()
        return work.future

    def close(self, grace_seconds: float) -> None:
        """Take nothing more, compute what is queued, and end the thread.

        Args:
            grace_seconds: After this, whatever still waits fails with `Stopped`.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(grace_seconds)
        with self._changed:
            while self._queue:
                work = self._queue.popleft()
                self._count_rows(-work.rows_left)
                _fail(work, Stopped("the teacher stopped before this request's turn"))
        self._thread.join(_LAST_BATCH_SECONDS)

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            pieces, bucket = batch
            try:
                self._compute(pieces, bucket)
            except Exception as error:
                # The failure of these requests, not of the thread: the next ones may pass.
                for piece in pieces:
                    _fail(piece.work, error)

    def _next_batch(self) -> tuple[list[_Piece], int] | None:
        """Wait for rows; the pieces to run now with their batch size, or None at the end."""
        with self._changed:
            while True:
                self._drop_dead(self._plan.largest)
                if self._queue:
                    bucket = self._plan.next_bucket(self._queued_rows)
                    return self._take(bucket), bucket
                if self._closed:
                    return None
                self._changed.wait()

    def _take(self, rows: int) -> list[_Piece]:
        pieces = []
        while rows and self._queue:
            piece = self._queue[0].take(rows)
            pieces.append(piece)
            rows -= piece.count
            self._count_rows(-piece.count)
            if not piece.work.rows_left:
                self._queue.popleft()
        return pieces

    def _drop_dead(self, rows_needed: int) -> None:
        """Forget requests that were cancelled, failed or are too late.

        Looks from the oldest on, only as far as `rows_needed` living rows reach.
        """
        now = self._clock()
        alive: list[_Work] = []
        while self._queue and rows_needed > 0:
            work = self._queue.popleft()
            if work.deadline > now and not work.future.done():
                alive.append(work)
                rows_needed -= work.rows_left
                continue
            self._count_rows(-work.rows_left)
            _fail(work, DeadlinePassed("the deadline passed before this request's turn"))
        self._queue.extendleft(reversed(alive))

    def _compute(self, pieces: list[_Piece], bucket: int) -> None:
        start = time.perf_counter()
        values = self._policy.evaluate(self._gather(pieces, bucket))
        seconds = time.perf_counter() - start
        rows = 0
        for piece in pieces:
            piece.work.values[piece.rows] = values[rows : rows + piece.count]
            rows += piece.count
            if piece.rows.stop == len(piece.work.observations):
                _succeed(piece.work)
        self._metrics.batch_ended(rows, bucket - rows, seconds)

    def _gather(self, pieces: list[_Piece], bucket: int) -> NDArray[Any]:
        """The rows of a batch in one array; what pads it is left over from before."""
        if len(pieces) == 1 and pieces[0].count == bucket:
            return pieces[0].work.observations[pieces[0].rows]
        first = pieces[0].work.observations
        if bucket not in self._staging:
            self._staging[bucket] = np.zeros((bucket, *first.shape[1:]), first.dtype)
        batch = self._staging[bucket]
        rows = 0
        for piece in pieces:
            batch[rows : rows + piece.count] = piece.work.observations[piece.rows]
            rows += piece.count
        return batch

    def _count_rows(self, change: int) -> None:
        self._queued_rows += change
        self._metrics.queue_is(self._queued_rows)


def _succeed(work: _Work) -> None:
    # Whoever settles a future first wins: the caller may cancel, and closing may fail it meanwhile.
    with contextlib.suppress(concurrent.futures.InvalidStateError):
        work.future.set_result(work.values)


def _fail(work: _Work, error: Exception) -> None:
    with contextlib.suppress(concurrent.futures.InvalidStateError):
        work.future.set_exception(error)
