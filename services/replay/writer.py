"""Writes to a replay table: played episodes (`ReplayWriter`) and single rows (`ItemWriter`).

    actor --append, end_episode--> ReplayWriter --rows, items--> ItemWriter --> Reverb table
      ^                              |                              ^
      +------ WriterStopped ---------+                              +-- recorded data
      +------ ReplayTimeout ---------+  the connection is dead: make another writer

Each environment has its own Reverb writer, which writes in `item_layout`. An item is created once n
further rows are complete, so the last n steps of an episode have no items if the process stops
before the episode ends. Few items are in flight at a time: while the table's rate limiter blocks
inserts, `append` waits, and the actor with it. `append` also waits while the server is unavailable,
and continues when a server listens at the same address again; gRPC may take half a minute to
notice.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.replay.connection import connect
from services.replay.episodes import EpisodeRecorder
from services.replay.failures import ReplayTimeout, WriterStopped
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.reverb_library import reverb
from services.replay.stalls import StalledInsertDetector


@dataclasses.dataclass(frozen=True, kw_only=True)
class WriterOptions:
    """Options of a writer; the defaults come from measurements.

    Attributes:
        chunk_length: Rows compressed together. Items share whole chunks, so short chunks cost
            bookkeeping (memory, CPU), and long ones transfer frames that the sampler discards. With
            7 frames per item, lengths of 4 and 8 take the least CPU time of both sides among 1 to
            64, and 8 takes less memory (`benchmarks.replay`).
        max_pending_items: Most items per environment that the server has not confirmed; must exceed
            `chunk_length`, or chunks would be cut short.
        poll_seconds: Time between two calls of `should_stop` during a wait.
        connect_timeout_seconds: Longest wait for the server to start.
        stall_seconds: Time that a write waits before the first check whether the rate limiter
            blocks inserts (`stalls`).
        stall_check_seconds: Time between two of these checks.
    """

    chunk_length: int = 8
    max_pending_items: int = 16
    poll_seconds: float = 0.25
    connect_timeout_seconds: float = 60.0
    stall_seconds: float = 20.0
    stall_check_seconds: float = 5.0


class ReplayWriter:
    """Writes the episodes of N environments, step by step."""

    def __init__(
        self,
        address: str,
        table: str,
        layout: ItemLayout,
        num_envs: int,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        priority: Callable[[], float] = lambda: 1.0,
        on_wait: Callable[[float], None] = lambda seconds: None,
        options: WriterOptions | None = None,
    ) -> None:
        """Connect; waits for the server to start.

        Args:
            address: "host:port" of the replay server.
            table: `TEACHER_TABLE` or `STUDENT_TABLE`.
            layout: Shapes of the items.
            num_envs: Number of environments N; each has its own episodes.
            should_stop: Called during a wait; if true, the wait ends with `WriterStopped`.
            priority: Called for each new item; returns its priority until it is first learned from,
                at least 0. A table that is sampled uniformly ignores it.
            on_wait: Called with the duration in seconds of each wait for the server to confirm
                items.
            options: Options of the writer; None for the defaults.

        Raises:
            ReplayTimeout: no server answers in time.
            UserError: the server has no such table, or one with items of other shapes.
        """
        self._options = options or WriterOptions()
        self._table = table
        self._should_stop = should_stop
        self._on_wait = on_wait
        self._stalls = StalledInsertDetector(
            address,
            table,
            stall_seconds=self._options.stall_seconds,
            check_seconds=self._options.stall_check_seconds,
        )
        client = connect(
            address, table, layout, timeout_seconds=self._options.connect_timeout_seconds
        )
        self._episodes = [
            EpisodeRecorder(
                ItemWriter(client, table, layout, self._options.chunk_length, priority=priority),
                layout,
            )
            for _ in range(num_envs)
        ]

    def append(self, env: int, row: StepRow) -> None:
        """Write one real step; the first one after `end_episode` starts a new episode.

        Args:
            env: Index of the environment, in [0, num_envs).
            row: The step.

        Raises:
            ValueError: the step does not fit the layout, or the episode has terminated.
            WriterStopped: `should_stop` returned true during a wait.
            ReplayTimeout: the connection is dead.
        """
        self._episodes[env].append(row)
        self._wait(env, self._options.max_pending_items)

    def end_episode(self, env: int, final_frame: NDArray[np.uint8] | None) -> None:
        """End an environment's episode, which creates the items of its last n steps.

        Args:
            env: Index of the environment, in [0, num_envs).
            final_frame: None if the last step terminated the episode. If the episode was cut off,
                uint8 [H, W], the newest frame of the state after the last step, from which it
                bootstraps.

        Raises:
            ValueError: no episode is open, or `final_frame` disagrees with the last row's
                `terminated`.
            WriterStopped: `should_stop` returned true during a wait.
            ReplayTimeout: the connection is dead.
        """
        self._episodes[env].end(final_frame)
        self._wait(env, self._options.max_pending_items)

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until the server has confirmed every item created so far.

        Returns:
            Whether it has; False if the time is over.

        Raises:
            WriterStopped: `should_stop` returned true during the wait.
            ReplayTimeout: the connection is dead.
        """
        deadline = time.monotonic() + timeout_seconds
        return all(self._wait(env, 0, deadline) for env in range(len(self._episodes)))

    def close(self) -> None:
        """Drop unconfirmed items, without waiting; call `flush` first to keep them."""
        for episode in self._episodes:
            episode.items.close()

    def _wait(self, env: int, max_pending: int, deadline: float = float("inf")) -> bool:
        """Wait until at most `max_pending` items are unconfirmed; False at the deadline."""
        began = time.monotonic()
        try:
            return self._wait_from(env, max_pending, deadline)
        finally:
            self._on_wait(time.monotonic() - began)

    def _wait_from(self, env: int, max_pending: int, deadline: float) -> bool:
        while True:
            seconds = max(0.001, min(self._options.poll_seconds, deadline - time.monotonic()))
            if self._episodes[env].items.flush(max_pending, seconds):
                self._stalls.reset()
                return True
            if self._should_stop():
                raise WriterStopped(
                    f"stopped while waiting to write to replay table {self._table!r}"
                )
            if self._stalls.is_stalled():
                raise ReplayTimeout(
                    f"replay table {self._table!r} confirms no items although its rate limiter "
                    "allows inserts; connect again"
                )
            if time.monotonic() >= deadline:
                return False


class ItemWriter:
    """One Reverb writer, which takes rows and creates items from the newest of them.

    An item is a window of the last stack + n rows; a step's item is created when n more rows have
    been appended. Items reach the table in the order of their steps.

    Rows and items go to Reverb's C++ writer directly. Reverb's Python class maps nested structures
    to columns and back in every call, which costs six times as much as the write itself.

    Args:
        client: Reverb client of the replay server.
        table: Name of the table to write to.
        layout: Shapes of rows and items.
        chunk_length: Rows compressed together.
        priority: Called for the priority of each new item.

    Attributes:
        items: Items created so far, whether confirmed by the server or not.
    """

    def __init__(
        self,
        client: Any,
        table: str,
        layout: ItemLayout,
        chunk_length: int,
        *,
        priority: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self._table = table
        self._layout = layout
        self._priority = priority
        self._chunk_length = chunk_length
        rows_kept = layout.window + chunk_length
        self._writer: Any = client.trajectory_writer(num_keep_alive_refs=rows_kept)
        self._direct = self._writer._writer
        options = reverb.pybind.ConstantChunkerOptions(
            max_chunk_length=chunk_length, num_keep_alive_refs=rows_kept
        )
        self._direct.ConfigureChunker(0, options)
        # Reverb's references to the newest rows.
        self._rows: collections.deque[Any] = collections.deque(maxlen=layout.window)
        # Whether each of the newest n+1 rows begins an item; the oldest row's item is complete.
        self._begins_item: collections.deque[bool] = collections.deque(maxlen=layout.n_step + 1)
        # Upper bound of the number of unconfirmed items.
        self._unconfirmed = 0
        self.items = 0

    def append(self, row: NDArray[np.void], *, begins_item: bool) -> None:
        """Append a row.

        Args:
            row: From `ItemLayout.row` or `padding_row`.
            begins_item: Whether to create an item for this row; the stack - 1 rows before it must
                have been appended.
        """
        self._rows.extend(self._direct.Append([row.reshape(1).view(np.uint8)]))
        self._begins_item.append(begins_item)
        if len(self._begins_item) == self._begins_item.maxlen and self._begins_item[0]:
            self._create_item()

    def append_padding(self, count: int) -> None:
        """Append rows of zeros, which begin no item."""
        for _ in range(count):
            self.append(self._layout.padding_row(), begins_item=False)

    def flush(self, max_pending: int, timeout_seconds: float) -> bool:
        """Wait until at most `max_pending` items are unconfirmed.

        Returns:
            Whether that is so; False if the time is over.
        """
        if self._unconfirmed <= max_pending:
            return True
        # A flush costs as much as a row, and wakes Reverb's thread. So let it confirm a chunk of
        # items more than necessary, which saves later flushes; still more would cut chunks short.
        pending = max(0, max_pending - self._chunk_length + 1)
        try:
            self._writer.flush(pending, timeout_ms=max(1, round(1000 * timeout_seconds)))
        except reverb.errors.DeadlineExceededError:
            return False
        self._unconfirmed = pending
        return True

    def close(self) -> None:
        """Drop unconfirmed items, without waiting, and close the Reverb writer."""
        if self._writer is not None:
            self._writer.close()
            # Frees its connection, which gRPC would otherwise give to the next client, dead or not.
            self._writer = self._direct = None
            self._rows.clear()

    def _create_item(self) -> None:
        """Create the item of the row n rows back.

        Raises:
            ValueError: the priority is negative or not finite, which would break the table's draws.
        """
        priority = self._priority()
        if not 0 <= priority < math.inf:
            raise ValueError(f"priority of a new item is {priority}; it must lie in [0, inf)")
        self._direct.CreateItem(self._table, priority, [list(self._rows)], [False])
        self.items += 1
        self._unconfirmed += 1
