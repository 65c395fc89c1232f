"""Batches from replay; the learner's side.

    Reverb table --samples--> RowStream (a thread, batches ahead) --rows--> ReplayReader --> Batch
                                |
                                +-- ReplayTimeout: the limiter gave none in time, ask again

Samples are decoded into n-step transitions here (`item_layout.decode_batch`); the order of rows
within a batch carries no meaning.
"""

from __future__ import annotations

import time

import numpy as np

from rrl_agents.types import Batch
from services.replay.connection import ReplayTimeout, TableCounts, table_counts
from services.replay.item_layout import ItemLayout, decode_batch
from services.replay.row_stream import RowStream, concatenate
from services.replay.tables import STUDENT_TABLE, TEACHER_TABLE

__all__ = [
    "STUDENT_TABLE",
    "TEACHER_TABLE",
    "ItemLayout",
    "ReplayReader",
    "ReplayTimeout",
    "TableCounts",
    "table_counts",
]


class ReplayReader:
    """Draws batches; a table is touched from its first use on."""

    def __init__(
        self,
        address: str,
        layout: ItemLayout,
        discount: float,
        batch_size: int,
        *,
        batches_ahead: int = 1,
        seed: int = 0,
    ) -> None:
        """Remember where and what to read.

        Args:
            address: "host:port" of the replay server.
            layout: Shapes of the items.
            discount: gamma, in [0, 1], per step.
            batch_size: Rows B of a batch.
            batches_ahead: Complete batches held ready per table.
            seed: Of the draws between the tables in `sample_mixed`.

        Raises:
            ValueError: a number out of its range.
        """
        if not 0 <= discount <= 1:
            raise ValueError(f"discount is {discount}; it must lie in [0, 1]")
        if batch_size < 1 or batches_ahead < 1:
            raise ValueError(
                f"batch_size is {batch_size} and batches_ahead {batches_ahead}; "
                "both must be at least 1"
            )
        self._address = address
        self._layout = layout
        self._discount = discount
        self._batch_size = batch_size
        self._batches_ahead = batches_ahead
        self._streams: dict[str, RowStream] = {}
        self._random = np.random.default_rng(seed)

    @property
    def samples_ahead(self) -> int:
        """Most samples of a table that are counted as sampled and not yet in a batch.

        One batch in Reverb's sampler, one being put together and `batches_ahead` complete ones. In
        mixed batches, up to one more is partly used.
        """
        return self._batch_size * (self._batches_ahead + 2)

    def sample(self, table: str, timeout_seconds: float) -> Batch:
        """One batch from one table.

        Args:
            table: `TEACHER_TABLE` or `STUDENT_TABLE`.
            timeout_seconds: Longest wait for the rate limiter.

        Raises:
            ReplayTimeout: no batch in time; the next call goes on waiting for it.
            UserError: no such table, or one of other shapes.
        """
        return self._sample({table: self._batch_size}, timeout_seconds)

    def sample_mixed(self, teacher_share: float, timeout_seconds: float) -> Batch:
        """One batch, each row of it from the teacher's table with probability `teacher_share`.

        Args:
            teacher_share: In [0, 1]; at 0 and at 1 the other table is not touched.
            timeout_seconds: Longest wait for the rate limiters.

        Raises:
            ValueError: a share outside [0, 1].
            ReplayTimeout: no batch in time.
            UserError: no such table, or one of other shapes.
        """
        if not 0 <= teacher_share <= 1:
            raise ValueError(f"teacher_share is {teacher_share}; it must lie in [0, 1]")
        size = self._batch_size
        teacher_rows = int(self._random.binomial(size, teacher_share))
        rows = {TEACHER_TABLE: teacher_rows, STUDENT_TABLE: size - teacher_rows}
        return self._sample({name: count for name, count in rows.items() if count}, timeout_seconds)

    def close(self) -> None:
        """Stop fetching; prefetched rows are dropped."""
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()

    def _sample(self, rows: dict[str, int], timeout_seconds: float) -> Batch:
        deadline = time.monotonic() + timeout_seconds
        # Wait for all before taking from any: a timeout loses nothing.
        for table, count in rows.items():
            self._stream(table).wait_for(count, max(0.0, deadline - time.monotonic()))
        blocks = [self._stream(table).take(count) for table, count in rows.items()]
        return decode_batch(concatenate(blocks), self._layout, self._discount)

    def _stream(self, table: str) -> RowStream:
        if table not in self._streams:
            self._streams[table] = RowStream(
                self._address,
                table,
                self._layout,
                block_rows=self._batch_size,
                blocks_ahead=self._batches_ahead,
            )
        return self._streams[table]
