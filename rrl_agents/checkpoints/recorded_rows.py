"""Recorded play as rows in time order, from any library's format.

A row is one step as stored in a replay buffer: the newest frame of the observation, the action, and
its outcome. An observation is the stack of the last `stack_size` frames. Axes: R rows, H and W
pixels. Rows are numbered from 0, the oldest, independent of their position in the file. All columns
except the frames are held in memory, 11 bytes per row; frames are streamed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

ROWS_PER_CHUNK = 1024
"""7 MB of Atari frames: large enough to amortise the cost per row, small enough to hold several."""

_MOST_CHUNK_BYTES = 32 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowColumns:
    """All columns of consecutive rows except the frames.

    Attributes:
        action: int32 [R].
        reward: float32 [R], as recorded.
        terminal: bool [R], the action ended the episode by the game's rules.
        is_state: bool [R], a real step whose whole frame stack is in the data and in its episode.
        cut_after: bool [R], no transition leads from this row to the next: a non-terminal end of an
            episode, or the last row of the data.
    """

    action: NDArray[np.int32]
    reward: NDArray[np.float32]
    terminal: NDArray[np.bool_]
    is_state: NDArray[np.bool_]
    cut_after: NDArray[np.bool_]

    def __len__(self) -> int:
        """R."""
        return len(self.action)

    def __getitem__(self, rows: slice) -> RowColumns:
        """Some of the rows."""
        return RowColumns(**{name: column[rows] for name, column in vars(self).items()})


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowChunk:
    """Consecutive rows with their frames.

    Attributes:
        first_row: Number of the first row.
        frame: uint8 [R, H, W].
        columns: The other columns, [R].
    """

    first_row: int
    frame: NDArray[np.uint8]
    columns: RowColumns

    def __len__(self) -> int:
        """R."""
        return len(self.frame)

    def since(self, row: int) -> RowChunk:
        """The rows from number `row` on, which must be in the chunk."""
        start = row - self.first_row
        return RowChunk(first_row=row, frame=self.frame[start:], columns=self.columns[start:])


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordedRows:
    """Recorded play that can be read repeatedly, from any row on.

    Attributes:
        columns: All columns of all rows except the frames.
        frame_shape: [H, W].
        stack_size: Frames of one observation.
        fingerprint: Hex digits that depend on all content; the same for copies of the files.
        read_frames: Called with a first row and the most rows per piece; yields the frames uint8
            [R, H, W] of that row and all later ones.
    """

    columns: RowColumns
    frame_shape: tuple[int, int]
    stack_size: int
    fingerprint: str
    read_frames: Callable[[int, int], Iterator[NDArray[np.uint8]]]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.columns)

    @property
    def num_actions(self) -> int:
        """The least possible number of actions: the largest recorded one, plus 1."""
        return int(self.columns.action.max()) + 1

    def chunks(
        self, first_row: int = 0, rows_per_chunk: int = ROWS_PER_CHUNK
    ) -> Iterator[RowChunk]:
        """Read to the end, in time order and in bounded memory.

        Args:
            first_row: First row to read, in [0, rows]; `rows` reads nothing.
            rows_per_chunk: Most rows of a chunk; the last one, and those with large frames, may
                have fewer.

        Raises:
            ValueError: The data is damaged; the message names the file.
        """
        most_rows = min(rows_per_chunk, _MOST_CHUNK_BYTES // math.prod(self.frame_shape))
        row = first_row
        for frame in self.read_frames(first_row, most_rows):
            columns = self.columns[row : row + len(frame)]
            yield RowChunk(first_row=row, frame=frame, columns=columns)
            row += len(frame)

    def transition_rows(self, n_step: int) -> NDArray[np.int64]:
        """The rows that begin a transition of n steps, int64, in time order.

        These are states without a cut at them or in the next n - 1 rows, as in Dopamine's
        `is_valid_transition`: a terminal row within the n steps shortens the transition, but a cut
        after it still counts, and so does the end of the data.

        Args:
            n_step: n, at least 1.
        """
        cuts_before = np.concatenate([[0], np.cumsum(self.columns.cut_after)])
        has_cut = cuts_before[n_step:] != cuts_before[:-n_step]
        return np.flatnonzero(self.columns.is_state[: len(has_cut)] & ~has_cut)

    def newest(self, n_step: int, transitions: int) -> RecordedRows:
        """The fewest newest rows with this many transitions, numbered from 0.

        Args:
            n_step: Steps n of a transition.
            transitions: Number of transitions, at least 1 and at most all.
        """
        first = int(self.transition_rows(n_step)[-transitions]) - (self.stack_size - 1)
        columns = self.columns[first:]
        has_stack = np.arange(len(columns)) >= self.stack_size - 1
        return dataclasses.replace(
            self,
            columns=dataclasses.replace(columns, is_state=columns.is_state & has_stack),
            read_frames=lambda row, most_rows: self.read_frames(first + row, most_rows),
        )


def checked_actions(actions: NDArray[np.generic], where: object) -> NDArray[np.int32]:
    """Recorded actions, of any integer type, as int32.

    Raises:
        ValueError: They are not valid actions; the message begins with `where`.
    """
    is_whole = actions.dtype.kind in "iu"
    if not is_whole or actions.min() < 0 or actions.max() > np.iinfo(np.int32).max:
        raise ValueError(f"{where}: actions must be whole numbers from 0 on, below 2**31")
    return actions.astype(np.int32)


def checked_rewards(rewards: NDArray[np.generic], where: object) -> NDArray[np.float32]:
    """Recorded rewards, of any numeric type, as float32.

    Raises:
        ValueError: Some are not finite; the message begins with `where`.
    """
    with np.errstate(over="ignore"):
        converted = rewards.astype(np.float32)
    if not np.isfinite(converted).all():
        row = int(np.flatnonzero(~np.isfinite(converted))[0])
        raise ValueError(f"{where}: the reward of row {row} is {converted[row]}; need finite ones")
    return converted
