"""Writes recorded rows into a replay table, in time order.

    LabelledChunk --append--> RecordedWriter --rows, items--> Reverb table

The caller decides which rows begin an item.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from services.recorded_data.config import ImporterConfig
from services.recorded_data.labelling import LabelledChunk
from services.recorded_data.recorded_rows import append_row
from services.replay.connection import connect
from services.replay.failures import WriterStopped
from services.replay.writer import ItemWriter, WriterOptions

_OPTIONS = WriterOptions(max_pending_items=40)
"""No environment waits for an item here, so more may be in flight than for actors."""


class RecordedWriter:
    """Writes one recording.

    Args:
        config: The table, and the layout of the items.
        stop: Ends every wait with `WriterStopped`.

    Raises:
        ReplayTimeout: no server in time.
        UserError: the server has no such table, or its shapes differ.
    """

    def __init__(self, config: ImporterConfig, stop: threading.Event) -> None:
        self._layout, self._table, self._stop = config.layout, config.table, stop
        client = connect(
            config.replay_address,
            config.table,
            config.layout,
            timeout_seconds=_OPTIONS.connect_timeout_seconds,
        )
        self._writer = ItemWriter(client, config.table, config.layout, _OPTIONS.chunk_length)

    @property
    def items(self) -> int:
        """Items created so far, confirmed by the server or not."""
        return self._writer.items

    def append(self, labelled: LabelledChunk, begins_item: NDArray[np.bool_]) -> None:
        """Write a chunk's rows; an item is created once the n rows after its own are written.

        Args:
            labelled: R rows that follow those of the previous chunk, with the teacher's scores.
            begins_item: bool [R], whether to create the item that begins at each row.

        Raises:
            ValueError: a frame or an action does not fit the layout.
            WriterStopped: asked to stop while waiting.
        """
        for index in range(len(begins_item)):
            append_row(self._writer, self._layout, labelled, index, bool(begins_item[index]))
            self._wait(_OPTIONS.max_pending_items)

    def flush(self) -> None:
        """Wait until the server has every item created so far.

        Raises:
            WriterStopped: asked to stop while waiting.
        """
        self._wait(0)

    def close(self) -> None:
        """Drop unconfirmed items, without waiting."""
        self._writer.close()

    def _wait(self, max_pending: int) -> None:
        while not self._writer.flush(max_pending, _OPTIONS.poll_seconds):
            if self._stop.is_set():
                raise WriterStopped(
                    f"stopped while waiting to write to replay table {self._table!r}"
                )
