"""Prefetches sampled items of one table on a thread.

    Reverb table --samples--> SampleStream --blocks of rows--> queue --> wait_for, take

The thread waits for the rate limiter, or for a server that is down, without a timeout; `close`
cancels its wait.
"""

from __future__ import annotations

import queue
import threading
import time

from services.replay.connection import connect
from services.replay.failures import ReplayTimeout
from services.replay.item_layout import ItemLayout
from services.replay.sample_stream import SampleStream
from services.replay.undecoded_rows import Rows, concatenate

_PUT_POLL_SECONDS = 0.2
_RETRY_SECONDS = 0.2
_CLOSE_SECONDS = 10.0
"""Longest wait for the thread to end; with a server in the same process, Reverb takes up to 3 s."""


class SamplePrefetcher:
    """Sampled items of one table, in blocks of rows.

    At most `blocks_ahead + 2` blocks are sampled but not yet taken: one in Reverb's samplers, one
    being assembled and the rest in the queue; plus the rest of a block that `take` used partly.
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
            address: "host:port" of a running replay server.
            table: Name of the table to sample from.
            layout: Shapes of its items.
            block_rows: Rows per block; also the most samples that all samplers have in flight.
            blocks_ahead: Complete blocks to keep in the queue.
            samplers: Threads that Reverb uses, each with its own stream; fewer for small blocks.

        Raises:
            ReplayTimeout: the server does not answer.
            UserError: the table is missing, or holds items of other shapes.
        """
        connect(address, table, layout, timeout_seconds=10.0)
        self._table = table
        self._queue: queue.Queue[Rows | Exception] = queue.Queue(maxsize=blocks_ahead)
        self._held: list[Rows] = []
        self._closed = threading.Event()
        self._stream = SampleStream(
            address, table, layout, block_rows=block_rows, samplers=samplers
        )
        self._thread = threading.Thread(target=self._run, name=f"replay-{table}", daemon=True)
        self._thread.start()

    def wait_for(self, rows: int, timeout_seconds: float) -> None:
        """Wait until `take(rows)` has enough rows.

        Raises:
            ReplayTimeout: not enough rows in time, because of the rate limiter or the server; rows
                that have arrived are kept.
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
        """Take the next rows, after `wait_for`; a whole block is returned without a copy."""
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
        """Stop prefetching at once, and drop the prefetched items."""
        self._closed.set()
        self._stream.cancel()
        self._thread.join(timeout=_CLOSE_SECONDS)

    def _run(self) -> None:
        try:
            # gRPC shares connections: the first may lead to a server that has been restarted since.
            while not self._stream.open():
                if self._closed.wait(_RETRY_SECONDS):
                    return
            while (block := self._stream.next_block()) is not None and not self._closed.is_set():
                self._put(block)
        except Exception as error:
            # `wait_for` raises it, unless `close` was called.
            self._put(error)

    def _put(self, block: Rows | Exception) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put(block, timeout=_PUT_POLL_SECONDS)
            except queue.Full:
                continue
