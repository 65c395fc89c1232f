"""Everything about the rows of a buffer but their frames, in the order of time.

Only frames are streamed. A circular buffer of capacity C that
rows were added to n times stands with its cursor at n mod C: once n >= C the oldest row is at the
cursor, before that it is row 0 and the rows from the cursor on were never written.

What may begin a transition is decided as `OutOfGraphReplayBuffer` decides it (K is the stack, h the
horizon of the agent that wrote the file):

* Rows in its `invalid_range`, h before the cursor to K behind it, are no states; of a buffer that
  is not full, neither are the first K - 1, which are padding.
* Nor is a row when any of the K - 1 before it ended an episode: those are padding, zeros. Dopamine
  itself takes them for states where the end was not terminal, and samples stacks that mix the last
  frames of an episode with zeros; that is the one difference here.
* No transition leads across the end of an episode that is not terminal, nor off the data.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.dopamine_replay.episode_ends import read_episode_ends
from rrl_agents.checkpoints.dopamine_replay.files import ReplayFiles
from rrl_agents.checkpoints.dopamine_replay.npy_column import read_whole
from rrl_agents.checkpoints.row_markers import RowMarkers, checked_actions, checked_rewards

_MOST_ADDED = 2**62
_MOST_MARKED = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cursor:
    """How far a circular buffer was filled.

    Attributes:
        capacity: Rows it has room for.
        added: Rows ever added, at least 1.
        stack_size: Frames of an observation, K.
        invalid_range: int64 [h + K], places that its writer never samples.
    """

    capacity: int
    added: int
    stack_size: int
    invalid_range: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Rows that were written."""
        return min(self.added, self.capacity)

    @property
    def is_full(self) -> bool:
        """Whether rows were overwritten, or the next one will be."""
        return self.added >= self.capacity

    @property
    def oldest(self) -> int:
        """Place of the oldest row."""
        return self.added % self.capacity if self.is_full else 0

    def in_time_order(self, column: NDArray[Any]) -> NDArray[Any]:
        """A column [capacity] as [rows], the oldest first."""
        return np.roll(column, -self.oldest)[: self.rows]


def read_cursor(files: ReplayFiles, capacity: int) -> Cursor:
    """Read how far the buffer was filled.

    Args:
        files: The buffer.
        capacity: Rows of its columns.

    Raises:
        ValueError: Nothing was ever added, or `add_count` and `invalid_range` contradict each
            other, as files of different buffers do.
    """
    added_path = files.member("add_count")
    added = int(_whole_numbers(added_path, 0)[()])
    if not 0 < added < _MOST_ADDED or capacity < 1:
        raise ValueError(
            f"{added_path}: {added} rows were added to a buffer of {capacity}; there is nothing "
            "to read"
        )
    range_path = files.member("invalid_range")
    invalid = _whole_numbers(range_path, 1)
    horizon = (added % capacity - int(invalid[0])) % capacity if len(invalid) else 0
    expected = (added % capacity - horizon + np.arange(len(invalid))) % capacity
    stack_size = len(invalid) - horizon
    if len(invalid) > _MOST_MARKED or stack_size < 1 or not np.array_equal(invalid, expected):
        raise ValueError(
            f"{range_path}: does not surround row {added % capacity}, where add_count puts the "
            f"cursor of {capacity} rows; take both files from the same checkpoint"
        )
    return Cursor(capacity=capacity, added=added, stack_size=stack_size, invalid_range=invalid)


def read_markers(files: ReplayFiles, cursor: Cursor) -> RowMarkers:
    """Read the small columns and mark the rows.

    Raises:
        ValueError: A column is damaged, has another length, or holds what it cannot.
    """
    terminal = _column(files, "terminal", cursor, "bu") != 0
    other_end = _other_ends(files, cursor) & ~terminal
    return RowMarkers(
        action=checked_actions(_column(files, "action", cursor, "iu"), files.column("action")),
        reward=checked_rewards(_column(files, "reward", cursor, "fiu"), files.column("reward")),
        terminal=terminal,
        is_state=_is_state(cursor, terminal | other_end),
        cut_after=_cut_after(other_end),
    )


def _is_state(cursor: Cursor, episode_end: NDArray[np.bool_]) -> NDArray[np.bool_]:
    is_state = np.ones(cursor.rows, bool)
    for behind in range(1, cursor.stack_size):
        is_state[behind:] &= ~episode_end[:-behind]
    is_state[: cursor.stack_size - 1] = False
    marked = (cursor.invalid_range - cursor.oldest) % cursor.capacity
    is_state[marked[marked < cursor.rows]] = False
    return is_state


def _cut_after(other_end: NDArray[np.bool_]) -> NDArray[np.bool_]:
    cut_after = other_end.copy()
    cut_after[-1] = True
    return cut_after


def _other_ends(files: ReplayFiles, cursor: Cursor) -> NDArray[np.bool_]:
    """Ends of episodes, terminal or not, bool [rows]; none where the buffer does not know."""
    path = files.member("episode_end_indices")
    is_end = np.zeros(cursor.capacity, bool)
    if path.exists():
        is_end[read_episode_ends(path, cursor.capacity)] = True
    in_order: NDArray[np.bool_] = cursor.in_time_order(is_end)
    return in_order


def _column(files: ReplayFiles, name: str, cursor: Cursor, kinds: str) -> NDArray[Any]:
    path = files.column(name)
    column = read_whole(path)
    if column.shape != (cursor.capacity,) or column.dtype.kind not in kinds:
        raise ValueError(
            f"{path}: {column.dtype} of shape {column.shape} beside frames of {cursor.capacity} "
            "rows; take all files from the same checkpoint"
        )
    return cursor.in_time_order(column)


def _whole_numbers(path: Path, dimensions: int) -> NDArray[np.int64]:
    numbers = read_whole(path)
    if numbers.ndim != dimensions or numbers.dtype.kind not in "iu":
        raise ValueError(f"{path}: {numbers.dtype} of shape {numbers.shape}; need whole numbers")
    return numbers.astype(np.int64)
