"""Recorded play as a stream of rows in the order of time, whoever wrote it.

A row is one step as a replay buffer stores it: the newest frame of the observation acted in, the
action, and what it brought. Observations are not stored; each is a stack of the last `stack_size`
frames. Axes: R rows, H and W pixels. Rows are numbered from 0, the oldest, whatever their place in
the file is.

Which rows may begin a transition is decided as Dopamine's own reader decides it (`is_state`,
`cut_after`, `transition_starts`), save that no state ever mixes the frames of two episodes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

ROWS_PER_CHUNK = 1024
"""7 MB of Atari frames: large enough that nothing is paid per row, small enough to hold several."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowChunk:
    """Consecutive rows.

    Attributes:
        first_row: Number of the first one.
        frame: uint8 [R, H, W].
        action: int32 [R].
        reward: float32 [R], as recorded.
        terminal: bool [R], the action ended the episode by the game's rules.
        is_state: bool [R], a real step whose whole frame stack lies in the data and in its episode.
        cut_after: bool [R], no transition leads from this row to the next: the end of an episode
            that is not terminal, or the last row of the data.
    """

    first_row: int
    frame: NDArray[np.uint8]
    action: NDArray[np.int32]
    reward: NDArray[np.float32]
    terminal: NDArray[np.bool_]
    is_state: NDArray[np.bool_]
    cut_after: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Check that all columns have as many rows."""
        lengths = {name: len(getattr(self, name)) for name in _COLUMNS}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns of one chunk have {lengths} rows; they must be equal")

    def __len__(self) -> int:
        """R."""
        return len(self.action)

    def since(self, row: int) -> RowChunk:
        """The rows from number `row` on, which must be one of these."""
        start = row - self.first_row
        return RowChunk(first_row=row, **{name: getattr(self, name)[start:] for name in _COLUMNS})


_COLUMNS = ("frame", "action", "reward", "terminal", "is_state", "cut_after")


class RecordedRows(Protocol):
    """Recorded play that can be read from any row on, again and again."""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        ...

    @property
    def frame_shape(self) -> tuple[int, int]:
        """[H, W]."""
        ...

    @property
    def stack_size(self) -> int:
        """Frames of one observation."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hex digits that differ when any content differs; survives copying the files."""
        ...

    def chunks(
        self, first_row: int = 0, rows_per_chunk: int = ROWS_PER_CHUNK
    ) -> Iterator[RowChunk]:
        """Read to the end, in the order of time and in bounded memory.

        Args:
            first_row: Where to begin, in [0, rows]; with `rows` there is nothing to read.
            rows_per_chunk: Most rows of a chunk; the last one has fewer, and those of large frames
                may have, too.

        Raises:
            ValueError: An argument is out of range, or the data is damaged; the message names the
                file.
        """
        ...

    @property
    def num_actions(self) -> int:
        """How many actions there must be: the largest recorded one, plus 1."""
        ...

    def count_transitions(self, n_step: int) -> int:
        """How many rows begin a transition of `n_step` steps; see `transition_starts`."""
        ...

    def transition_rows(self, n_step: int) -> NDArray[np.int64]:
        """The rows that begin a transition of `n_step` steps, int64, in the order of time."""
        ...


def transition_starts(
    is_state: NDArray[np.bool_], cut_after: NDArray[np.bool_], n_step: int
) -> NDArray[np.bool_]:
    """Which rows begin a transition of n steps.

    Those that are states with no cut among themselves and the n - 1 rows that follow. That is
    Dopamine's `is_valid_transition`: a terminal row within the n steps shortens the transition, yet
    a cut behind it counts all the same, and so does the end of the data.

    Args:
        is_state: bool [R], of consecutive rows.
        cut_after: bool [R], of the same rows.
        n_step: n, at least 1.

    Returns:
        bool [R]; always False for a row with fewer than n - 1 rows behind it, which is what those
        at the end of the data are.

    Raises:
        ValueError: n_step is below 1.
    """
    if n_step < 1:
        raise ValueError(f"n_step is {n_step}; it must be at least 1")
    starts = np.zeros(len(is_state), bool)
    whole = len(is_state) - n_step + 1
    if whole > 0:
        cuts_before = np.concatenate([[0], np.cumsum(cut_after)])
        has_cut = cuts_before[n_step:] != cuts_before[:-n_step]
        starts[:whole] = is_state[:whole] & ~has_cut
    return starts
