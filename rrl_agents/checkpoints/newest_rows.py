"""The newest rows of a recording as a recording of its own.

A run that takes only the newest transitions need not read and label all the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.recorded_rows import ROWS_PER_CHUNK, RecordedRows, RowChunk


class NewestRows:
    """Rows from one on, numbered from 0 (`RecordedRows`).

    Args:
        rows: The whole recording.
        first_row: The row that is row 0 here. States whose stack reaches further back are none.
    """

    def __init__(self, rows: RecordedRows, first_row: int) -> None:
        self._all = rows
        self._first_row = first_row

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self._all.rows - self._first_row

    @property
    def frame_shape(self) -> tuple[int, int]:
        """[H, W]."""
        return self._all.frame_shape

    @property
    def stack_size(self) -> int:
        """Frames of one observation."""
        return self._all.stack_size

    @property
    def fingerprint(self) -> str:
        """That of the whole; which part this is shows in `rows`."""
        return self._all.fingerprint

    @property
    def num_actions(self) -> int:
        """That of the whole."""
        return self._all.num_actions

    def chunks(
        self, first_row: int = 0, rows_per_chunk: int = ROWS_PER_CHUNK
    ) -> Iterator[RowChunk]:
        """Read to the end; see `RecordedRows.chunks`."""
        for chunk in self._all.chunks(self._first_row + first_row, rows_per_chunk):
            numbers = chunk.first_row - self._first_row + np.arange(len(chunk))
            yield dataclasses.replace(
                chunk,
                first_row=int(numbers[0]),
                is_state=chunk.is_state & (numbers >= self.stack_size - 1),
            )

    def count_transitions(self, n_step: int) -> int:
        """How many rows begin a transition of `n_step` steps."""
        return len(self.transition_rows(n_step))

    def transition_rows(self, n_step: int) -> NDArray[np.int64]:
        """The rows that begin a transition of `n_step` steps, int64, in the order of time."""
        numbers = self._all.transition_rows(n_step) - self._first_row
        return numbers[numbers >= self.stack_size - 1]


def with_newest_transitions(rows: RecordedRows, n_step: int, transitions: int) -> RecordedRows:
    """As few of the newest rows as hold so many transitions.

    Args:
        rows: The whole recording, with at least so many.
        n_step: Steps n of a transition.
        transitions: How many are wanted, at least 1.
    """
    first_start = int(rows.transition_rows(n_step)[-transitions])
    return NewestRows(rows, first_start - (rows.stack_size - 1))
