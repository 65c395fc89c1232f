"""A replay buffer that Dopamine saved, as recorded rows.

    rows = open_dopamine_replay(Path("agent/1"))
    for chunk in rows.chunks():
        ...

The frames of a million rows are 7 GB unpacked. They are read forward, a chunk at a time: from the
cursor, where the oldest row is, to the end of the file, and then from its beginning to the cursor.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.dopamine_replay.files import ReplayFiles, find_replay
from rrl_agents.checkpoints.dopamine_replay.markers import Cursor, read_cursor, read_markers
from rrl_agents.checkpoints.dopamine_replay.npy_column import NpyColumn, opened_column
from rrl_agents.checkpoints.recorded_rows import ROWS_PER_CHUNK, RowChunk
from rrl_agents.checkpoints.row_markers import RowMarkers, check_start

_MOST_CHUNK_BYTES = 32 << 20


def open_dopamine_replay(path: Path, number: int | None = None) -> DopamineReplay:
    """Open a saved buffer; all of it but the frames is read and checked now.

    Args:
        path: An agent's directory, or its `checkpoints` or `replay_logs`.
        number: Which iteration's buffer; the newest whole one when None.

    Raises:
        ValueError: It is not there, not whole, damaged, or its files do not belong together; the
            message names the file.
    """
    files = find_replay(path, number)
    with _open_frames(files) as frames:
        capacity, height, width = frames.shape
        trailer = frames.trailer
    cursor = read_cursor(files, capacity)
    markers = read_markers(files, cursor)
    return DopamineReplay(
        files=files,
        cursor=cursor,
        markers=markers,
        frame_shape=(height, width),
        fingerprint=markers.sha256(cursor.added, (height, width), trailer),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DopamineReplay:
    """A saved buffer, or its newest rows (`RecordedRows`); see `open_dopamine_replay`.

    Attributes:
        files: Where the frames are.
        cursor: How far the buffer was filled.
        markers: The other columns, of the rows that are read.
        frame_shape: [H, W].
        fingerprint: SHA-256 of all small columns, whole, and of the checksum that the frames' file
            ends with.
    """

    files: ReplayFiles
    cursor: Cursor
    markers: RowMarkers
    frame_shape: tuple[int, int]
    fingerprint: str

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.markers)

    @property
    def stack_size(self) -> int:
        """Frames of one observation."""
        return self.cursor.stack_size

    def newest(self, n_step: int, transitions: int) -> DopamineReplay:
        """As few of the newest rows as hold so many transitions, numbered from 0.

        Args:
            n_step: Steps n of a transition.
            transitions: How many are wanted, at least 1 and at most all that there are.
        """
        first = int(self.transition_rows(n_step)[-transitions]) - (self.stack_size - 1)
        return dataclasses.replace(self, markers=self.markers.since(first, self.stack_size))

    def chunks(
        self, first_row: int = 0, rows_per_chunk: int = ROWS_PER_CHUNK
    ) -> Iterator[RowChunk]:
        """Read to the end; see `RecordedRows.chunks`."""
        check_start(first_row, self.rows, rows_per_chunk)
        height, width = self.frame_shape
        return self._read(first_row, min(rows_per_chunk, _MOST_CHUNK_BYTES // (height * width)))

    @property
    def num_actions(self) -> int:
        """The largest recorded action, plus 1."""
        return self.markers.num_actions

    def count_transitions(self, n_step: int) -> int:
        """How many rows begin a transition of `n_step` steps."""
        return len(self.transition_rows(n_step))

    def transition_rows(self, n_step: int) -> NDArray[np.int64]:
        """The rows that begin a transition of `n_step` steps, int64, in the order of time."""
        return self.markers.transition_rows(n_step)

    def _read(self, first_row: int, rows_per_chunk: int) -> Iterator[RowChunk]:
        row = first_row
        for start, stop in self._places(first_row):
            for frame in self._frames(start, stop, rows_per_chunk):
                yield self.markers.chunk(row, frame)
                row += len(frame)

    def _places(self, first_row: int) -> list[tuple[int, int]]:
        """The stretches of the file, [start, stop), that hold the rows from `first_row` on."""
        cursor = self.cursor
        age = cursor.rows - self.rows + first_row
        before_wrap = cursor.rows - cursor.oldest
        stretches = [
            (cursor.oldest + min(age, before_wrap), cursor.rows),
            (max(age - before_wrap, 0), cursor.oldest),
        ]
        return [(start, stop) for start, stop in stretches if start < stop]

    def _frames(self, start: int, stop: int, rows_per_chunk: int) -> Iterator[NDArray[np.uint8]]:
        with _open_frames(self.files) as column:
            if column.shape != (self.cursor.capacity, *self.frame_shape):
                raise ValueError(f"{column.path}: changed while it was read; begin again")
            column.skip(start)
            for place in range(start, stop, rows_per_chunk):
                yield column.read(min(rows_per_chunk, stop - place))
            if stop == self.cursor.rows:
                # Behind the rows of a buffer that is not full lie some that were never written.
                column.skip(self.cursor.capacity - stop)
                column.finish()


@contextlib.contextmanager
def _open_frames(files: ReplayFiles) -> Iterator[NpyColumn]:
    path = files.column("observation")
    with opened_column(path) as column:
        if len(column.shape) != 3 or column.dtype != np.uint8 or 0 in column.shape:
            raise ValueError(
                f"{path}: {column.dtype} of shape {column.shape}; frames must be uint8 [rows, H, W]"
            )
        yield column
