"""The teacher service's client for code without an event loop.

    with TeacherClient("127.0.0.1:50051") as teacher:
        answer = teacher.evaluate(observations)          # uint8 [B, 84, 84, 4]
        actions = answer.action_values.argmax(axis=1)    # float32 [B, A]

It wraps `AsyncTeacherClient`: every call runs in an event loop on a thread that all clients of a
process share. Each client has its own connections.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import threading
import time
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from rrl_client import errors
from rrl_client.client import DEFAULT_TIMEOUT_SECONDS, AsyncTeacherClient
from rrl_client.codec import TeacherAnswer
from rrl_client.forks import is_forked, note_connection
from rrl_client.loop_thread import LoopThread
from rrl_client.requests import Priority
from rrl_client.security import ClientSecurity
from rrl_client.spec import TeacherDescription

WAITING_ROWS = 2048
"""`evaluate_future` returns at once up to this many rows in flight per client."""

_Result = TypeVar("_Result")


class TeacherClient:
    """Query one teacher, or its replicas; safe to share between threads. A context manager."""

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        model: str = "",
        version: str = "",
        priority: Priority = Priority.ACTING,
        shared_memory: bool = True,
        security: ClientSecurity | None = None,
    ) -> None:
        """Prepare to connect; nothing is sent yet.

        Arguments are as for `AsyncTeacherClient`.

        Raises:
            ValueError: An argument is out of range, or a file of `security` cannot be used.
            TeacherFailed: This process was forked from one that has clients.
        """
        self._client = AsyncTeacherClient(
            addresses,
            timeout_seconds=timeout_seconds,
            model=model,
            version=version,
            priority=priority,
            shared_memory=shared_memory,
            security=security,
        )
        self._client.check_usable()
        self._loop_thread = _loop_thread()
        self._pending = _PendingRows(WAITING_ROWS)

    def __enter__(self) -> TeacherClient:
        """The client itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections; queries in flight fail. A second call does nothing."""
        # A forked child leaves the connections to its parent.
        if not is_forked() and not self._loop_thread.is_closed:
            self._run(self._client.close())

    def describe(self, *, timeout_seconds: float | None = None) -> TeacherDescription:
        """Describe the model, and set up shared memory with a teacher on this host.

        Raises:
            TeacherError: One of the kinds of `rrl_client.errors`.
        """
        self._client.check_usable()
        return self._run(self._client.describe(timeout_seconds=timeout_seconds))

    def wait_until_ready(self, timeout_seconds: float) -> TeacherDescription:
        """Block until the teacher is up and warmed up.

        Raises:
            TeacherUnavailable: It is not ready within `timeout_seconds`.
            TeacherError: Another kind: it answers, but cannot be used.
        """
        self._client.check_usable()
        return self._run(self._client.wait_until_ready(timeout_seconds))

    def evaluate(
        self, observations: ArrayLike, *, timeout_seconds: float | None = None
    ) -> TeacherAnswer:
        """Action values of a batch of any size, as in `AsyncTeacherClient.evaluate`.

        Args:
            observations: [B, *observation_shape], B >= 1.
            timeout_seconds: Deadline of each piece; None for the client's.

        Raises:
            TeacherError: One of the kinds of `rrl_client.errors`; no rows are returned.
        """
        self._client.check_usable()
        return self._run(self._client.evaluate(observations, timeout_seconds=timeout_seconds))

    def evaluate_future(
        self, observations: ArrayLike, timeout_seconds: float | None = None
    ) -> concurrent.futures.Future[TeacherAnswer]:
        """Send one request without waiting for the answer; the array may be reused at once.

        If `WAITING_ROWS` rows of this client are in flight, it blocks, at most until the deadline.
        Cancelling the future abandons the query. Callbacks of the future run on a thread that
        all clients share, and must return quickly.

        Args:
            observations: [B, *observation_shape], 1 <= B <= the teacher's `max_batch_rows`; as in
                `evaluate`.
            timeout_seconds: Deadline; None for the client's.

        Raises:
            TeacherFailed: The client was closed, or this process was forked from one that has
                clients. The future's `result` raises every other error.
        """
        self._client.check_usable()
        timeout = self._client.timeout(timeout_seconds)
        deadline = time.monotonic() + timeout
        kept, rows = observations, 1
        if isinstance(observations, np.ndarray):
            # As it lies in memory: the thread that sends it brings its axes into order.
            kept, rows = observations.copy("K"), observations.shape[0] if observations.ndim else 1
        self._pending.add(rows, timeout)

        async def answer() -> TeacherAnswer:
            left = max(deadline - time.monotonic(), 1e-3)
            return await self._client.evaluate_future(kept, left)

        future = self._loop_thread.start(answer())
        future.add_done_callback(lambda _: self._pending.remove(rows))
        return future

    def _run(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        if self._loop_thread.is_current:
            coroutine.close()
            raise errors.in_callback()
        future = self._loop_thread.start(coroutine)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C; after an error of the call itself there is nothing to cancel.
            future.cancel()
            raise


class _PendingRows:
    """Limits the rows that a client has in flight."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rows = 0
        self._changed = threading.Condition()

    def add(self, rows: int, timeout_seconds: float) -> None:
        """Wait for capacity, at most this long, and take it."""
        with self._changed:
            self._changed.wait_for(lambda: self._rows < self._limit, timeout_seconds)
            self._rows += rows

    def remove(self, rows: int) -> None:
        """Return capacity."""
        with self._changed:
            self._rows -= rows
            self._changed.notify_all()


_lock = threading.Lock()
_shared: LoopThread | None = None


def _loop_thread() -> LoopThread:
    """The thread of this process's clients; it ends with the process."""
    global _shared
    with _lock:
        if _shared is None:
            note_connection()
            _shared = LoopThread("teacher-client")
            atexit.register(_end, _shared)
        return _shared


def _end(thread: LoopThread) -> None:
    # A forked child does not have this thread.
    if not is_forked():
        thread.close()
