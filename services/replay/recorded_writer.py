"""Writing recorded rows into a replay table, in the order of time.

    RowChunk, scores --append--> RecordedWriter --rows, items--> Reverb table

Recorded data brings its own padding before episodes; behind a terminal row n zero rows are put in,
so that the items of an episode's last steps never show the next episode (`item_layout`). Which rows
begin an item is the caller's to say.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.recorded_rows import RowChunk
from services.replay.connection import connect
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.item_stream import ItemStream
from services.replay.writer import WriterOptions, WriterStopped

_ROWS_BETWEEN_FLUSHES = 8
"""A flush is a call into Reverb: one per row would cost as much as the row."""

IMPORT_OPTIONS = WriterOptions(max_pending_items=128)
"""Nobody waits for a single item here, so more may be under way than where actors play."""


class RecordedWriter:
    """Writes one recording.

    Args:
        address: "host:port" of the replay server.
        table: Table to write into.
        layout: Shapes of the items.
        should_stop: Asked while waiting; true ends the wait with `WriterStopped`.
        options: How to write.

    Raises:
        ReplayTimeout: no server in time.
        UserError: the server has no such table, or one of other shapes.
    """

    def __init__(
        self,
        address: str,
        table: str,
        layout: ItemLayout,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        options: WriterOptions = IMPORT_OPTIONS,
    ) -> None:
        self._layout = layout
        self._table = table
        self._options = options
        self._should_stop = should_stop
        client = connect(address, table, layout, timeout_seconds=options.connect_timeout_seconds)
        self._stream = ItemStream(client, table, layout, options.chunk_length)

    @property
    def items(self) -> int:
        """Items created so far, confirmed by the server or not."""
        return self._stream.items

    def append(
        self, chunk: RowChunk, scores: NDArray[np.float32], begins_item: NDArray[np.bool_]
    ) -> None:
        """Write a chunk's rows; an item is created once the n rows after its own are written.

        Args:
            chunk: R rows, which follow those of the chunk before.
            scores: float32 [R, A], the teacher's; read only where an item begins.
            begins_item: bool [R], whose items are wanted.

        Raises:
            ValueError: a frame or an action that does not fit the layout.
            WriterStopped: asked to stop while waiting.
        """
        for index in range(len(chunk.action)):
            begins = bool(begins_item[index])
            row = self._layout.row(
                StepRow(
                    frame=chunk.frame[index],
                    action=int(chunk.action[index]),
                    reward=float(chunk.reward[index]),
                    terminated=bool(chunk.terminal[index]),
                    teacher_q=scores[index] if begins else None,
                )
            )
            self._stream.append(row, begins_item=begins)
            if chunk.terminal[index]:
                self._stream.append_padding(self._layout.n_step)
            if index % _ROWS_BETWEEN_FLUSHES == 0:
                self._wait(self._options.max_pending_items)

    def flush(self) -> None:
        """Wait until the server has every item created so far.

        Raises:
            WriterStopped: asked to stop while waiting.
        """
        self._wait(0)

    def close(self) -> None:
        """Drop what is not confirmed, without waiting."""
        self._stream.close()

    def _wait(self, max_pending: int) -> None:
        while not self._stream.flush(max_pending, self._options.poll_seconds):
            if self._should_stop():
                raise WriterStopped(
                    f"stopped while waiting to write to replay table {self._table!r}"
                )
