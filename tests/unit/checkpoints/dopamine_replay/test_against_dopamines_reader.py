"""Rows and transitions equal those of Dopamine's own replay buffer, loaded from the same files."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rrl_agents.checkpoints.dopamine_replay.npy_column import read_column
from rrl_agents.checkpoints.dopamine_replay.rows import open_dopamine_replay
from rrl_agents.checkpoints.recorded_rows import RecordedRows, RowChunk, RowColumns

FIXTURES = Path(__file__).parents[3] / "fixtures"
RECORDED = (
    ("dopamine4.0.2_flax0.3_numpy", 0),
    ("dopamine4.0.2_flax0.3_numpy", 1),
    ("dopamine4.0.5_flax0.6_devicearray", 0),
    ("dopamine4.0.5_flax0.6_devicearray", 1),
    ("dopamine4.0.6_flax0.6.11_jaxarray", 0),
    ("dopamine4.0.6_flax0.6.11_jaxarray", 1),
    ("dopamine2.0.5_tf1", 199),
)
FRAME_SHAPE = (2, 3)
STACK = 4
DISCOUNT = 0.9
ITERATION = 7


class Episode(NamedTuple):
    steps: int
    is_terminated: bool


class Transitions(NamedTuple):
    """Arrays [B, ...] of B transitions."""

    state: NDArray[np.uint8]
    action: NDArray[np.int32]
    n_step_return: NDArray[np.float32]
    next_state: NDArray[np.uint8]
    is_terminal: NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Oracle:
    """Dopamine's buffer with the student's horizon."""

    buffer: Any
    horizon: int

    @property
    def places(self) -> list[int]:
        """What `sample_index_batch` may draw, the oldest first."""
        buffer, capacity = self.buffer, self.buffer._replay_capacity
        oldest = int(buffer.cursor()) - capacity if buffer.is_full() else 0
        # Its own bounds: min_id and max_id.
        drawn = range(oldest + STACK - 1, int(buffer.cursor()) - self.horizon)
        return [i % capacity for i in drawn if buffer.is_valid_transition(i % capacity)]

    def is_padding(self, place: int) -> bool:
        """The zeros behind an end that is not terminal: Dopamine samples them, we do not."""
        buffer, capacity = self.buffer, self.buffer._replay_capacity
        return any(
            (place - behind) % capacity in buffer.episode_end_indices for behind in range(1, STACK)
        )

    def transitions(self, places: list[int]) -> Transitions:
        state, action, n_step_return, next_state, _, _, terminal, _ = (
            self.buffer.sample_transition_batch(len(places), places)
        )
        return Transitions(state, action, n_step_return, next_state, terminal.astype(bool))


def new_buffer(capacity: int, horizon: int, frame_shape: tuple[int, ...] = FRAME_SHAPE) -> Any:
    from dopamine.replay_memory.circular_replay_buffer import OutOfGraphReplayBuffer

    return OutOfGraphReplayBuffer(
        observation_shape=frame_shape,
        stack_size=STACK,
        replay_capacity=capacity,
        batch_size=1,
        update_horizon=horizon,
        gamma=DISCOUNT,
    )


def load_oracle(directory: Path, number: int, horizon: int) -> Oracle:
    shape = open_dopamine_replay(directory, number).frame_shape
    # The capacity of the file's buffer, which Dopamine does not take from the file.
    capacity = len(read_column(directory / f"$store$_terminal_ckpt.{number}.gz", 1, "B"))
    buffer = new_buffer(capacity, horizon, shape)
    buffer.load(str(directory), number)
    return Oracle(buffer, horizon)


def play(buffer: Any, episodes: Sequence[Episode], unfinished_steps: int = 0) -> None:
    """Every step has a random frame, action and reward; frames are never zero."""
    random = np.random.default_rng(0)

    def step(*, is_terminal: bool, is_end: bool) -> None:
        buffer.add(
            random.integers(1, 256, FRAME_SHAPE, np.uint8),
            int(random.integers(6)),
            np.float32(random.integers(-1, 2)),
            np.uint8(is_terminal),
            episode_end=is_end,
        )

    for steps, is_terminated in episodes:
        for number in range(steps):
            is_end = number == steps - 1
            step(is_terminal=is_end and is_terminated, is_end=is_end)
    for _ in range(unfinished_steps):
        step(is_terminal=False, is_end=False)


def whole(rows: RecordedRows, rows_per_chunk: int = 31) -> RowChunk:
    """All rows as one chunk."""
    chunks = list(rows.chunks(0, rows_per_chunk))
    columns = {
        name: np.concatenate([getattr(chunk.columns, name) for chunk in chunks])
        for name in RowColumns.__dataclass_fields__
    }
    frame = np.concatenate([chunk.frame for chunk in chunks])
    return RowChunk(first_row=0, frame=frame, columns=RowColumns(**columns))


def transitions(chunk: RowChunk, starts: NDArray[np.int64], horizon: int) -> Transitions:
    """Straight from the definition."""
    columns, steps, returns = chunk.columns, [], []
    for row in starts:
        ends = np.flatnonzero(columns.terminal[row : row + horizon])
        steps.append(int(ends[0]) + 1 if len(ends) else horizon)
        powers = np.asarray([DISCOUNT**k for k in range(steps[-1])], np.float32)
        returns.append(np.sum(powers * columns.reward[row : row + steps[-1]]))
    last = starts + np.asarray(steps, np.int64) - 1
    return Transitions(
        state=_stacks(chunk.frame, starts),
        action=columns.action[starts],
        n_step_return=np.asarray(returns, np.float32),
        # Of a terminal row at the very end there is none; it is not compared.
        next_state=_stacks(chunk.frame, np.minimum(last + 1, len(chunk) - 1)),
        is_terminal=columns.terminal[last],
    )


def _stacks(frames: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.stack([frames[rows - age] for age in range(STACK - 1, -1, -1)], axis=-1)


def check_equal(directory: Path, number: int, horizon: int) -> int:
    """Compare with the oracle; how many padding rows it would have sampled."""
    oracle = load_oracle(directory, number, horizon)
    rows = open_dopamine_replay(directory, number)
    capacity, cursor = oracle.buffer._replay_capacity, int(oracle.buffer.cursor())
    oldest = cursor if oracle.buffer.is_full() else 0
    chunk = whole(rows)
    starts = rows.transition_rows(horizon)
    drawn = oracle.places
    wanted = [place for place in drawn if not oracle.is_padding(place)]
    assert ((starts + oldest) % capacity).tolist() == wanted
    if wanted:
        ours, theirs = transitions(chunk, starts, horizon), oracle.transitions(wanted)
        # Behind a terminal step Dopamine's next state is undefined.
        goes_on = ~ours.is_terminal
        for name, found, expected in zip(Transitions._fields, ours, theirs, strict=True):
            compared = goes_on if name == "next_state" else slice(None)
            assert np.array_equal(found[compared], expected[compared]), name
    return len(drawn) - len(wanted)


@pytest.mark.parametrize("horizon", [1, 3, 5])
@pytest.mark.parametrize(("fixture", "number"), RECORDED)
def test_every_transition_of_the_fixtures_equals_dopamines(
    fixture: str, number: int, horizon: int
) -> None:
    check_equal(FIXTURES / fixture / "1/checkpoints", number, horizon)


# Rows: 3 of padding and the steps of each episode.
LAYOUTS = {
    "not full": (60, [Episode(9, True), Episode(8, True)], 5),
    "not full, just begun": (60, [], 2),
    # 12 + 11 + 8 = 31 rows of 25: the cursor is at 6, in the middle of the last episode.
    "full, cursor within an episode": (25, [Episode(9, True), Episode(8, True)], 5),
    # 12 + 13 = 25.
    "wrapped exactly at 0, at a terminal row": (25, [Episode(9, True), Episode(10, True)], 0),
    "wrapped exactly at 0, at a cut": (25, [Episode(9, True), Episode(10, False)], 0),
    # The oldest episode's terminal row is the oldest row left.
    "a terminal row at the cursor": (24, [Episode(9, True), Episode(9, True), Episode(8, True)], 0),
    "truncated": (60, [Episode(9, False), Episode(8, False), Episode(4, True)], 5),
    "truncated and wrapped": (30, [Episode(9, False)] * 5, 3),
    "tiny": (60, [Episode(1, True), Episode(1, False), Episode(2, True), Episode(3, False)] * 3, 0),
    "tiny and wrapped": (33, [Episode(1, False), Episode(2, True), Episode(1, True)] * 6, 1),
}


@pytest.mark.parametrize("horizon", [1, 3, 5])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_transition_of_a_written_buffer_equals_dopamines(
    layout: str, horizon: int, tmp_path: Path
) -> None:
    capacity, episodes, unfinished = LAYOUTS[layout]
    for written_with in (1, 3):
        buffer = new_buffer(capacity, written_with)
        play(buffer, episodes, unfinished)
        buffer.save(str(tmp_path), ITERATION)
        check_equal(tmp_path, ITERATION, horizon)


@settings(max_examples=60, deadline=None)
@given(
    capacity=st.integers(9, 40),
    episodes=st.lists(st.builds(Episode, st.integers(1, 12), st.booleans()), max_size=8),
    unfinished=st.integers(0, 6),
    written_with=st.sampled_from([1, 3, 5]),
    horizon=st.integers(1, 6),
)
def test_any_play_gives_dopamines_transitions(
    capacity: int, episodes: list[Episode], unfinished: int, written_with: int, horizon: int
) -> None:
    buffer = new_buffer(max(capacity, STACK + horizon), written_with)
    play(buffer, episodes, unfinished + (not episodes))
    with tempfile.TemporaryDirectory() as directory:
        buffer.save(directory, ITERATION)
        check_equal(Path(directory), ITERATION, horizon)


def test_padding_behind_a_truncated_episode_is_no_state_though_dopamine_samples_it(
    tmp_path: Path,
) -> None:
    buffer = new_buffer(60, 1)
    play(buffer, [Episode(5, False), Episode(5, True)])
    buffer.save(str(tmp_path), ITERATION)
    # Rows 3 to 7 are the first episode, 8 to 10 zeros, 11 to 15 the second one. Dopamine samples
    # the zeros; a stack at row 8 is the last three frames of the old episode and a zero frame.
    assert check_equal(tmp_path, ITERATION, 1) == 3
    columns = whole(open_dopamine_replay(tmp_path)).columns
    # 15 is in the range that its writer marks invalid, around the cursor at 16.
    assert np.flatnonzero(columns.is_state).tolist() == [3, 4, 5, 6, 7, 11, 12, 13, 14]
    assert np.flatnonzero(columns.cut_after).tolist() == [7, 15]


@pytest.mark.parametrize("first_row", [0, 1, 18, 19, 20, 24, 25])
def test_reading_may_begin_anywhere(first_row: int, tmp_path: Path) -> None:
    buffer = new_buffer(25, 1)
    # 31 rows of 25: row 19 lies at place 0.
    play(buffer, [Episode(9, True), Episode(8, True)], 5)
    buffer.save(str(tmp_path), ITERATION)
    rows = open_dopamine_replay(tmp_path)
    expected = whole(rows).frame[first_row:]
    chunks = list(rows.chunks(first_row, 4))
    assert [c.first_row for c in chunks[:1]] == ([first_row] if len(expected) else [])
    assert all(len(chunk) <= 4 for chunk in chunks)
    found = [frame for chunk in chunks for frame in chunk.frame]
    np.testing.assert_array_equal(np.reshape(found, expected.shape), expected)
