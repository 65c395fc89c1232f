"""Recorded play as rows in the order of time, of any library's format.

A row is one step as a replay buffer stores it: the newest frame of the observation acted in, the
action, and what it brought. Observations are not stored; each is a stack of the last `stack_size`
frames. Axes: R rows, H and W pixels. Rows are numbered from 0, the oldest, whatever their place in
the file is. All columns but the frames are held in memory, 11 bytes per row; frames are streamed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

ROWS_PER_CHUNK = 1024
"""7 MB of Atari frames: large enough that nothing is paid per row, small enough to hold several."""

_MOST_CHUNK_BYTES = 32 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowColumns:
    """All columns of consecutive rows but the frames.

    Attributes:
        action: int32 [R].
        reward: float32 [R], as recorded.
        terminal: bool [R], the action ended the episode by the game's rules.
        is_state: bool [R], a real step whose whole frame stack lies in the data and in its episode.
        cut_after: bool [R], no transition leads from this row to the next: the end of an episode
            that is not terminal, or the last row of the data.
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
        first_row: Number of the first one.
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
        """The rows from number `row` on, which must be one of these."""
        start = row - self.first_row
        return RowChunk(first_row=row, frame=self.frame[start:], columns=self.columns[start:])


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordedRows:
    """Recorded play that can be read from any row on, again and again.

    Attributes:
        columns: All columns of all rows but the frames.
        frame_shape: [H, W].
        stack_size: Frames of one observation.
        fingerprint: Hex digits that differ when any content differs; survives copying the files.
        read_frames: Given a first row and the most rows of a piece, gives the frames uint8
            [R, H, W] of it and all later rows, piece by piece.
    """

    columns: RowColumns
    frame_shape: tuple[int, int]
    stack_size: int
    fingerprint: str
    read_frames: Callable[[int, int], Iterator[NDArray[np.uint8]]]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.columns)

    @property
    def num_actions(self) -> int:
        """How many actions there must be: the largest recorded one, plus 1."""
        return int(self.columns.action.max()) + 1

    def chunks(
        self, first_row: int = 0, rows_per_chunk: int = ROWS_PER_CHUNK
    ) -> Iterator[RowChunk]:
        """Read to the end, in the order of time and in bounded memory.

        Args:
            first_row: Where to begin, in [0, rows]; with `rows` there is nothing to read.
            rows_per_chunk: Most rows of a chunk; the last one has fewer, and those of large frames
                may have, too.

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
        """The rows that begin a transition of n steps, int64, in the order of time.

        Those that are states with no cut among themselves and the n - 1 rows that follow. That is
        Dopamine's `is_valid_transition`: a terminal row within the n steps shortens the transition,
        yet a cut behind it counts all the same, and so does the end of the data.

        Args:
            n_step: n, at least 1.
        """
        cuts_before = np.concatenate([[0], np.cumsum(self.columns.cut_after)])
        has_cut = cuts_before[n_step:] != cuts_before[:-n_step]
        return np.flatnonzero(self.columns.is_state[: len(has_cut)] & ~has_cut)

    def newest(self, n_step: int, transitions: int) -> RecordedRows:
        """As few of the newest rows as hold so many transitions, numbered from 0.

        Args:
            n_step: Steps n of a transition.
            transitions: How many are wanted, at least 1 and at most all that there are.
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
    """Actions as recorded, of any integer type, as int32.

    Raises:
        ValueError: They are not numbers of actions; begins with `where`.
    """
    is_whole = actions.dtype.kind in "iu"
    if not is_whole or actions.min() < 0 or actions.max() > np.iinfo(np.int32).max:
        raise ValueError(f"{where}: actions must be whole numbers from 0 on, below 2**31")
    return actions.astype(np.int32)


def checked_rewards(rewards: NDArray[np.generic], where: object) -> NDArray[np.float32]:
    """Rewards as recorded, of any type of numbers, as float32.

    Raises:
        ValueError: Not all of them are finite; begins with `where`.
    """
    with np.errstate(over="ignore"):
        converted = rewards.astype(np.float32)
    if not np.isfinite(converted).all():
        row = int(np.flatnonzero(~np.isfinite(converted))[0])
        raise ValueError(f"{where}: the reward of row {row} is {converted[row]}; need finite ones")
    return converted
