"""A steady stream of sampled items from one table, fetched ahead on a thread.

Uses Reverb's sampler itself instead of `reverb.TrajectoryDataset`: the same stream, without
TensorFlow's runtime (which thus never starts a thread pool nor looks for a GPU), with a clean way
to end a wait, and about a quarter less CPU per batch. The arrays come in the order of the table's
signature, which is alphabetical, behind four fields about the item.
"""

from __future__ import annotations

import queue
import threading
import time

import numpy as np
import reverb

from services.replay.connection import ReplayTimeout, connect
from services.replay.item_layout import Columns, ItemLayout

_ITEM_INFO_FIELDS = 4
"""Key, probability, table size and priority stand before the columns of each sample."""
_UNLIMITED = -1
_PUT_POLL_SECONDS = 0.2


class RowStream:
    """Sampled items of one table, in blocks of rows.

    At most `blocks_ahead + 2` blocks have been sampled and not yet taken: one in Reverb's sampler,
    one being put together, the rest in the queue; and what a partial `take` left over.
    """

    def __init__(
        self, address: str, table: str, layout: ItemLayout, *, block_rows: int, blocks_ahead: int
    ) -> None:
        """Start fetching.

        Args:
            address: "host:port" of the replay server, known to be up.
            table: Table to sample from.
            layout: Shapes of its items.
            block_rows: Rows per block, also Reverb's own number of samples in flight.
            blocks_ahead: Complete blocks to hold ready.

        Raises:
            ReplayTimeout: the server does not answer.
            UserError: no such table, or one of other shapes.
        """
        connect(address, table, layout, timeout_seconds=10.0)
        self._table = table
        self._columns = layout.item_columns()
        self._block_rows = block_rows
        self._queue: queue.Queue[Columns | Exception] = queue.Queue(maxsize=blocks_ahead)
        self._held: list[Columns] = []
        self._closed = threading.Event()
        # The client must outlive its sampler.
        self._client = reverb.pybind.Client(address)
        self._sampler = self._client.NewSampler(table, _UNLIMITED, block_rows)
        self._thread = threading.Thread(target=self._run, name=f"replay-{table}", daemon=True)
        self._thread.start()

    def wait_for(self, rows: int, timeout_seconds: float) -> None:
        """Wait until `take(rows)` can be answered.

        Raises:
            ReplayTimeout: the rate limiter or the server gave too few in time; nothing is lost.
            RuntimeError: Reverb refused to sample.
        """
        deadline = time.monotonic() + timeout_seconds
        while sum(map(_rows, self._held)) < rows:
            try:
                block = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise ReplayTimeout(
                    f"replay table {self._table!r} gave no batch within {timeout_seconds:g} s"
                ) from None
            if isinstance(block, Exception):
                raise RuntimeError(f"sampling {self._table!r} failed: {block}") from block
            self._held.append(block)

    def take(self, rows: int) -> Columns:
        """The next rows, after `wait_for`; a whole block is handed out without a copy."""
        if self._held and _rows(self._held[0]) == rows:
            return self._held.pop(0)
        taken: list[Columns] = []
        missing = rows
        while missing:
            block = self._held.pop(0)
            taken.append(_slice(block, 0, missing))
            if _rows(block) > missing:
                self._held.insert(0, _slice(block, missing, _rows(block)))
            missing -= _rows(taken[-1])
        return concatenate(taken)

    def close(self) -> None:
        """Stop fetching; a wait for the rate limiter ends at once."""
        self._closed.set()
        self._sampler.Close()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        try:
            while not self._closed.is_set():
                self._put(self._read_block())
        except (RuntimeError, ValueError) as error:
            # Close() ends a blocked read with a RuntimeError too; then nobody is listening.
            self._put(error)

    def _read_block(self) -> Columns:
        block = {
            name: np.empty((self._block_rows, *shape), dtype)
            for name, (shape, dtype) in self._columns.items()
        }
        for row in range(self._block_rows):
            sample = self._sampler.GetNextTrajectory()[_ITEM_INFO_FIELDS:]
            for column, value in zip(block.values(), sample, strict=True):
                column[row] = value
        return block

    def _put(self, block: Columns | Exception) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put(block, timeout=_PUT_POLL_SECONDS)
            except queue.Full:
                continue


def concatenate(blocks: list[Columns]) -> Columns:
    """Blocks one after the other."""
    if len(blocks) == 1:
        return blocks[0]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _rows(block: Columns) -> int:
    return len(block["action"])


def _slice(block: Columns, start: int, stop: int) -> Columns:
    return {name: column[start:stop] for name, column in block.items()}
