"""A steady stream of sampled items from one table, fetched ahead on a thread.

Uses Reverb's sampler itself instead of `reverb.TrajectoryDataset`: the same stream, without
TensorFlow's runtime (which thus never starts a thread pool nor looks for a GPU), with a clean way
to end a wait, and about a quarter less CPU per batch. The arrays come in the order of the table's
signature, which is alphabetical, behind four fields about the item.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
import time

import numpy as np
import reverb
from numpy.typing import NDArray

from services.replay.connection import ReplayTimeout, connect
from services.replay.item_layout import Columns, ItemLayout

_KEY, _PROBABILITY, _TABLE_SIZE = 0, 1, 2
_ITEM_INFO_FIELDS = 4
"""Key, probability, table size and priority stand before the columns of each sample."""
_UNLIMITED = -1
_PUT_POLL_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class Rows:
    """Sampled items, row by row.

    Attributes:
        columns: The columns of `ItemLayout.item_columns`, each with a leading axis R.
        item_key: uint64 [R], Reverb's key of each item.
        relative_probability: float64 [R], the probability of the draw times the items that the
            table held then: 1 where all are as likely.
    """

    columns: Columns
    item_key: NDArray[np.uint64]
    relative_probability: NDArray[np.float64]

    @classmethod
    def empty(cls, rows: int, layout: ItemLayout) -> Rows:
        """Room for so many rows."""
        columns = {
            name: np.empty((rows, *shape), dtype)
            for name, (shape, dtype) in layout.item_columns().items()
        }
        return cls(columns, np.empty(rows, np.uint64), np.empty(rows, np.float64))

    @property
    def count(self) -> int:
        """Rows R."""
        return len(self.item_key)

    def slice(self, start: int, stop: int) -> Rows:
        """A part of the rows, as views."""
        return Rows(
            {name: column[start:stop] for name, column in self.columns.items()},
            self.item_key[start:stop],
            self.relative_probability[start:stop],
        )


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
        self._layout = layout
        self._block_rows = block_rows
        self._queue: queue.Queue[Rows | Exception] = queue.Queue(maxsize=blocks_ahead)
        self._held: list[Rows] = []
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
        while sum(block.count for block in self._held) < rows:
            try:
                block = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise ReplayTimeout(
                    f"replay table {self._table!r} gave no batch within {timeout_seconds:g} s"
                ) from None
            if isinstance(block, Exception):
                raise RuntimeError(f"sampling {self._table!r} failed: {block}") from block
            self._held.append(block)

    def take(self, rows: int) -> Rows:
        """The next rows, after `wait_for`; a whole block is handed out without a copy."""
        taken: list[Rows] = []
        missing = rows
        while missing:
            block = self._held.pop(0)
            if block.count > missing:
                self._held.insert(0, block.slice(missing, block.count))
                block = block.slice(0, missing)
            taken.append(block)
            missing -= block.count
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

    def _read_block(self) -> Rows:
        block = Rows.empty(self._block_rows, self._layout)
        for row in range(self._block_rows):
            sample = self._sampler.GetNextTrajectory()
            block.item_key[row] = sample[_KEY]
            block.relative_probability[row] = sample[_PROBABILITY] * sample[_TABLE_SIZE]
            for column, value in zip(
                block.columns.values(), sample[_ITEM_INFO_FIELDS:], strict=True
            ):
                column[row] = value
        return block

    def _put(self, block: Rows | Exception) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put(block, timeout=_PUT_POLL_SECONDS)
            except queue.Full:
                continue


def concatenate(blocks: list[Rows]) -> Rows:
    """Blocks one after the other."""
    if len(blocks) == 1:
        return blocks[0]
    return Rows(
        {
            name: np.concatenate([block.columns[name] for block in blocks])
            for name in blocks[0].columns
        },
        np.concatenate([block.item_key for block in blocks]),
        np.concatenate([block.relative_probability for block in blocks]),
    )
