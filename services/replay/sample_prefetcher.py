"""Fetches sampled items of one table ahead, on a thread.

    Reverb table --samples--> TrajectoryDataset --blocks of rows--> queue --> wait_for, take

A read waits for the rate limiter, or for a server that is down, without a timeout; `close` cancels
it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from services.replay.connection import connect, table_counts
from services.replay.failures import ReplayTimeout, SamplingFailed
from services.replay.item_layout import ROWS_COLUMN, ItemLayout
from services.replay.reverb_library import import_whole, reverb
from services.replay.reverb_library import tensorflow as tf
from services.replay.rows import Rows, concatenate

_REQUEST_ROWS = 32
"""Samples that one sampler has in flight: more leave the processor's cache before they are put
together, fewer are more requests."""
_PUT_POLL_SECONDS = 0.2
_READ_ROWS = 256
"""Rows of a block of `read_once`."""
_READ_TIMEOUT_MS = 10_000
"""A table that is complete gives its next item at once."""
_RETRY_SECONDS = 0.2
_CLOSE_SECONDS = 10.0
"""Longest wait for the thread; with a server in the same process, Reverb takes up to 3 s to end."""


class SamplePrefetcher:
    """Sampled items of one table, in blocks of rows.

    At most `blocks_ahead + 2` blocks have been sampled and not yet taken: one in Reverb's samplers,
    one being put together, the rest in the queue; and what a partial `take` left over.
    """

    def __init__(
        self,
        address: str,
        table: str,
        layout: ItemLayout,
        *,
        block_rows: int,
        blocks_ahead: int,
        samplers: int,
    ) -> None:
        """Start fetching.

        Args:
            address: "host:port" of the replay server, known to be up.
            table: Table to sample from.
            layout: Shapes of its items.
            block_rows: Rows per block, also the most samples that all samplers have in flight.
            blocks_ahead: Complete blocks to hold ready.
            samplers: Reverb's threads, each with a stream of its own; fewer for small blocks.

        Raises:
            ReplayTimeout: the server does not answer.
            UserError: no such table, or one of other shapes.
        """
        connect(address, table, layout, timeout_seconds=10.0)
        self._table = table
        self._layout = layout
        self._queue: queue.Queue[Rows | Exception] = queue.Queue(maxsize=blocks_ahead)
        self._held: list[Rows] = []
        self._closed = threading.Event()
        # Not public, and the only way to cancel a read from outside.
        cancellation: Any = import_whole("tensorflow.python.eager.cancellation")
        self._reading = cancellation.CancellationManager()
        self._dataset = _dataset(address, table, layout, block_rows, samplers=samplers)
        self._thread = threading.Thread(target=self._run, name=f"replay-{table}", daemon=True)
        self._thread.start()

    def wait_for(self, rows: int, timeout_seconds: float) -> None:
        """Wait until `take(rows)` can be answered.

        Raises:
            ReplayTimeout: the rate limiter or the server gave too few in time; nothing is lost.
            SamplingFailed: the server is down, or refused to sample.
        """
        deadline = time.monotonic() + timeout_seconds
        while sum(block.count for block in self._held) < rows:
            try:
                block = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise ReplayTimeout(
                    f"replay table {self._table!r} gave no batch within {timeout_seconds:g} s"
                ) from None
            if isinstance(block, Exception):
                raise block
            self._held.append(block)

    def take(self, rows: int) -> Rows:
        """The next rows, after `wait_for`; a whole block is handed out without a copy."""
        taken: list[Rows] = []
        missing = rows
        while missing:
            block = self._held.pop(0)
            if block.count > missing:
                self._held.insert(0, block.rows(slice(missing, block.count)))
                block = block.rows(slice(0, missing))
            taken.append(block)
            missing -= block.count
        return concatenate(taken)

    def close(self) -> None:
        """Stop fetching at once; fetched items are dropped."""
        self._closed.set()
        self._reading.start_cancel()
        self._thread.join(timeout=_CLOSE_SECONDS)

    def _run(self) -> None:
        try:
            next_block = self._start_reading()
            while not self._closed.is_set():
                try:
                    self._put(_rows(next_block(), self._layout))
                except tf.errors.CancelledError:
                    if self._closed.is_set():
                        return
                    # TensorFlow keeps the manager of a starting call in a global: in a rare race it
                    # is that of another prefetcher, which was closed.
                    next_block = self._start_reading()
        except tf.errors.OpError as error:
            failure = SamplingFailed(f"sampling {self._table!r} failed: {error}")
            failure.__cause__ = error
            self._put(failure)
        except Exception as error:
            # `wait_for` raises it; after `close` nothing does.
            self._put(error)

    def _start_reading(self) -> Callable[[], reverb.ReplaySample]:
        while True:
            try:
                blocks = iter(self._dataset)
            except tf.errors.UnavailableError:
                # gRPC shares connections, and this one may be of a server before a restart.
                if self._closed.wait(_RETRY_SECONDS):
                    raise
            else:
                read = tf.function(blocks.get_next).get_concrete_function()
                next_block: Callable[[], reverb.ReplaySample]
                next_block = self._reading.get_cancelable_function(read)
                return next_block

    def _put(self, block: Rows | Exception) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put(block, timeout=_PUT_POLL_SECONDS)
            except queue.Full:
                continue


def _dataset(
    address: str,
    table: str,
    layout: ItemLayout,
    block_rows: int,
    *,
    samplers: int = 1,
    items: int = -1,
) -> tf.data.Dataset:
    """Blocks of a table, of so many items in all; -1 for without end."""
    samplers = max(1, min(samplers, block_rows // _REQUEST_ROWS))
    item = (layout.window, layout.row_dtype.itemsize)
    options = tf.data.Options()
    # Left to itself, TensorFlow fetches ahead more than `samples_ahead` counts, on more threads.
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    options.threading.private_threadpool_size = 1
    dataset = reverb.TrajectoryDataset(
        server_address=address,
        table=table,
        dtypes={ROWS_COLUMN: tf.uint8},
        shapes={ROWS_COLUMN: tf.TensorShape(item)},
        max_in_flight_samples_per_worker=min(block_rows, _REQUEST_ROWS),
        num_workers_per_iterator=samplers,
        # Where items are few, one that gives none for so long has lost some with a connection.
        rate_limiter_timeout_ms=-1 if items < 0 else _READ_TIMEOUT_MS,
        # None is fetched ahead of those: a table that gives each item once would lose it.
        max_samples=items,
    )
    return dataset.batch(block_rows).with_options(options)


def read_once(address: str, table: str, layout: ItemLayout) -> Iterator[Rows]:
    """All items that a table holds now and gives once each, in blocks.

    Raises:
        ReplayTimeout: the server does not answer.
        SamplingFailed: the server is down, or refused to sample; or items were lost on the way.
        UserError: no such table, or one of other shapes.
    """
    connect(address, table, layout, timeout_seconds=10.0)
    missing = items = table_counts(address)[table].size
    if not items:
        return
    try:
        for block in _dataset(address, table, layout, _READ_ROWS, items=items):
            rows = _rows(block, layout)
            missing -= rows.count
            yield rows
    except tf.errors.OpError as error:
        raise SamplingFailed(f"reading {table!r} failed: {error}") from error
    if missing:
        raise SamplingFailed(f"{missing} of {items} items of {table!r} were lost on the way")


def _rows(sample: reverb.ReplaySample, layout: ItemLayout) -> Rows:
    info = sample.info
    return Rows(
        layout.columns(sample.data[ROWS_COLUMN].numpy()),
        info.key.numpy(),
        info.probability.numpy() * info.table_size.numpy(),
    )
