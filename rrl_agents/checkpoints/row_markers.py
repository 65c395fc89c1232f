"""All columns of recorded rows but their frames, held in memory: 11 bytes per row."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.recorded_rows import RowChunk, transition_starts


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowMarkers:
    """The columns of `RowChunk` but the frames, of all rows in the order of time."""

    action: NDArray[np.int32]
    reward: NDArray[np.float32]
    terminal: NDArray[np.bool_]
    is_state: NDArray[np.bool_]
    cut_after: NDArray[np.bool_]

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.action)

    @property
    def num_actions(self) -> int:
        """The largest action, plus 1."""
        return int(self.action.max()) + 1

    def transition_rows(self, n_step: int) -> NDArray[np.int64]:
        """The rows that begin a transition of `n_step` steps, int64, in the order of time."""
        return np.flatnonzero(transition_starts(self.is_state, self.cut_after, n_step))

    def since(self, first_row: int, stack_size: int) -> RowMarkers:
        """The rows from one on; states whose stack reaches further back are none."""
        columns = {name: column[first_row:] for name, column in vars(self).items()}
        is_whole = np.arange(len(self) - first_row) >= stack_size - 1
        return RowMarkers(**{**columns, "is_state": columns["is_state"] & is_whole})

    def chunk(self, first_row: int, frame: NDArray[np.uint8]) -> RowChunk:
        """The rows that these frames, uint8 [R, H, W], are of."""
        rows = slice(first_row, first_row + len(frame))
        columns = {name: column[rows] for name, column in vars(self).items()}
        return RowChunk(first_row=first_row, frame=frame, **columns)

    def sha256(self, *more: object) -> str:
        """Hash of all columns and of what `more` says in its `repr`."""
        digest = hashlib.sha256(repr(more).encode())
        for column in vars(self).values():
            digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()


def check_start(first_row: int, rows: int, rows_per_chunk: int) -> None:
    """Check the arguments of `RecordedRows.chunks`.

    Raises:
        ValueError: One is out of range.
    """
    if not 0 <= first_row <= rows:
        raise ValueError(f"first_row is {first_row}; give 0 to {rows}")
    if rows_per_chunk < 1:
        raise ValueError(f"rows_per_chunk is {rows_per_chunk}; it must be at least 1")


def checked_actions(actions: NDArray[np.generic], where: object) -> NDArray[np.int32]:
    """Actions as recorded, of any integer type, as int32.

    Raises:
        ValueError: They are no numbers of actions; begins with `where`.
    """
    if (
        actions.dtype.kind not in "iu"
        or actions.min() < 0
        or actions.max() > np.iinfo(np.int32).max
    ):
        raise ValueError(f"{where}: actions must be whole numbers from 0 on, below 2**31")
    return actions.astype(np.int32, copy=False)


def checked_rewards(rewards: NDArray[np.generic], where: object) -> NDArray[np.float32]:
    """Rewards as recorded, of any type of numbers, as float32.

    Raises:
        ValueError: Not all of them are finite; begins with `where`.
    """
    with np.errstate(over="ignore"):
        converted = rewards.astype(np.float32, copy=False)
    if not np.isfinite(converted).all():
        row = int(np.flatnonzero(~np.isfinite(converted))[0])
        raise ValueError(f"{where}: the reward of row {row} is {converted[row]}; need finite ones")
    return converted
