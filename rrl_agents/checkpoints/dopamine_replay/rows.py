"""Reads a replay buffer that Dopamine saved, as recorded rows.

    rows = open_dopamine_replay(Path("agent/1"))
    for chunk in rows.chunks():
        ...

A circular buffer of capacity C with n added rows has its cursor at n mod C. Once n >= C the oldest
row is at the cursor; before that it is row 0, and the rows from the cursor on were never written.
The frames of a million rows are 7 GB uncompressed. They are read forward, a piece at a time: from
the oldest row to the end of the file, then from its beginning to the cursor.

A transition may begin where `OutOfGraphReplayBuffer` allows it (K is the stack, h the horizon of
the agent that wrote the file):

* Rows in its `invalid_range`, h before the cursor to K after it, are not states; nor, in a buffer
    that is not full, are the first K - 1, which are padding.
* Nor is a row if any of the K - 1 before it ended an episode: it is padding, zeros. Dopamine itself
    treats it as a state if the end was not terminal, and samples stacks that mix the last frames of
    an episode with zeros; this is the only difference.
* No transition crosses a non-terminal end of an episode, or the end of the data.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.dopamine_replay.episode_ends import read_episode_ends
from rrl_agents.checkpoints.dopamine_replay.files import ReplayFiles, find_replay
from rrl_agents.checkpoints.dopamine_replay.npy_column import opened_column, read_column
from rrl_agents.checkpoints.recorded_rows import (
    RecordedRows,
    RowColumns,
    checked_actions,
    checked_rewards,
)

_WHOLE_NUMBERS = np.typecodes["AllInteger"]
_NUMBERS = _WHOLE_NUMBERS + np.typecodes["Float"]


def open_dopamine_replay(
    path: Path,
    number: int | None = None,
    *,
    read_ends: Callable[[Path, int], Sequence[int]] = read_episode_ends,
) -> RecordedRows:
    """Open a saved buffer; reads and checks everything except the frames.

    Args:
        path: An agent's directory, or its `checkpoints` or `replay_logs`.
        number: Iteration of the buffer; None for the newest complete one.
        read_ends: `read_episode_ends`, or a function that runs it in a confined process.

    Raises:
        ValueError: It is missing, incomplete or damaged, or its files do not belong together; the
            message names the file.
    """
    files = find_replay(path, number)
    with opened_column(files.member("$store$_observation"), 3, "B") as frames:
        capacity, height, width = frames.shape
    ring = _read_ring(files, capacity)
    ends_file = files.member("episode_end_indices")
    ends = read_ends(ends_file, capacity) if ends_file.exists() else ()
    columns = _read_columns(files, ring, ends)
    digest = hashlib.sha256(repr((ring.added, (height, width), frames.trailer)).encode())
    for column in vars(columns).values():
        digest.update(np.ascontiguousarray(column).data)
    return RecordedRows(
        columns=columns,
        frame_shape=(height, width),
        stack_size=ring.stack_size,
        fingerprint=digest.hexdigest(),
        read_frames=functools.partial(_read_frames, files, ring),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Ring:
    """The fill state of a circular buffer.

    Attributes:
        capacity: Its capacity in rows.
        added: Rows ever added, at least 1.
        invalid: int64 [h + K], positions that its writer never samples.
        stack_size: K.
    """

    capacity: int
    added: int
    invalid: NDArray[np.int64]
    stack_size: int

    @property
    def rows(self) -> int:
        """Number of written rows."""
        return min(self.added, self.capacity)

    @property
    def oldest(self) -> int:
        """Position of the oldest row."""
        return self.added % self.capacity if self.added >= self.capacity else 0

    def in_time_order(self, column: NDArray[Any]) -> NDArray[Any]:
        """A column [capacity] as [rows], oldest first."""
        return np.roll(column, -self.oldest)[: self.rows]


def _read_ring(files: ReplayFiles, capacity: int) -> _Ring:
    path = files.member("add_count")
    added = int(read_column(path, 0, _WHOLE_NUMBERS)[()])
    if added < 1:
        raise ValueError(f"{path}: {added} rows were added; there is nothing to read")
    path, cursor = files.member("invalid_range"), added % capacity
    invalid = read_column(path, 1, _WHOLE_NUMBERS).astype(np.int64)
    horizon = (cursor - int(invalid[0])) % capacity
    expected = (cursor - horizon + np.arange(len(invalid))) % capacity
    if horizon >= len(invalid) or not np.array_equal(invalid, expected):
        raise ValueError(
            f"{path}: does not surround row {cursor}, where add_count puts the cursor of "
            f"{capacity} rows; take both files from the same checkpoint"
        )
    stack_size = len(invalid) - horizon
    return _Ring(capacity=capacity, added=added, invalid=invalid, stack_size=stack_size)


def _read_columns(files: ReplayFiles, ring: _Ring, ends: Sequence[int]) -> RowColumns:
    """Read the small columns and mark the rows."""
    action, reward, terminal = (
        _read_in_time_order(files.member(f"$store$_{name}"), ring, types)
        for name, types in (("action", _WHOLE_NUMBERS), ("reward", _NUMBERS), ("terminal", "?B"))
    )
    terminal = terminal != 0
    # Ends of episodes, terminal or not; none if the buffer has none.
    is_end = ring.in_time_order(np.isin(np.arange(ring.capacity), ends))
    cut_after = is_end & ~terminal
    cut_after[-1] = True
    return RowColumns(
        action=checked_actions(action, files.member("$store$_action")),
        reward=checked_rewards(reward, files.member("$store$_reward")),
        terminal=terminal,
        is_state=_is_state(ring, terminal | is_end),
        cut_after=cut_after,
    )


def _is_state(ring: _Ring, is_end: NDArray[np.bool_]) -> NDArray[np.bool_]:
    row, behind = np.arange(ring.rows), ring.stack_size - 1
    ends_before = np.concatenate([[0], np.cumsum(is_end)])
    is_whole: NDArray[np.bool_] = ends_before[row] == ends_before[np.maximum(row - behind, 0)]
    is_whole[:behind] = False
    is_whole[np.isin(row, (ring.invalid - ring.oldest) % ring.capacity)] = False
    return is_whole


def _read_in_time_order(path: Path, ring: _Ring, types: str) -> NDArray[Any]:
    column = read_column(path, 1, types)
    if len(column) != ring.capacity:
        raise ValueError(
            f"{path}: {len(column)} rows beside frames of {ring.capacity} rows; take all files "
            "from the same checkpoint"
        )
    return ring.in_time_order(column)


def _read_frames(
    files: ReplayFiles, ring: _Ring, first_row: int, most_rows: int
) -> Iterator[NDArray[np.uint8]]:
    """The frames from a row on, to the end of the file and then from its beginning."""
    place = ring.oldest + first_row
    stretches = [(place, ring.rows), (0, ring.oldest)]
    if place >= ring.rows:
        stretches = [(place - ring.rows, ring.oldest)]
    with opened_column(files.member("$store$_observation"), 3, "B") as column:
        for begin, end in stretches:
            for start in range(begin, end, most_rows):
                yield column.read(start, min(start + most_rows, end))
            if end == ring.rows:
                column.check_end()
