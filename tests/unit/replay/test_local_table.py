"""The replay table in this process."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy import stats

from services.replay.item_layout import ItemLayout, StepRow, decode_batch
from services.replay.local_table import LocalTable
from services.replay.local_writer import LocalWriter
from services.replay.undecoded_rows import Rows

LAYOUT = ItemLayout(frame_shape=(1, 2), stack_size=2, n_step=2, num_actions=3, clips_rewards=False)


def frame(value: int) -> np.ndarray:
    return np.full((1, 2), value, np.uint8)


def step(number: int, *, terminated: bool = False, labelled: bool = True) -> StepRow:
    scores = np.array([number, 0, 0], np.float32) if labelled else None
    return StepRow(frame(number), number % 3, float(number), terminated, scores)


def table(capacity: int = 100, **settings: Any) -> LocalTable:
    return LocalTable(LAYOUT, capacity, **settings)


def all_items(of: LocalTable) -> Rows:
    return of.rows_of(np.arange(of.inserted - of.count, of.inserted))


def frames_of(rows: Rows) -> list[list[int]]:
    return [[int(one[0, 0]) for one in item] for item in rows.columns["frame"]]


def play(of: LocalTable, steps: int, first: int = 1) -> LocalWriter:
    """An episode that terminates after so many steps, with frames and rewards that count."""
    writer = LocalWriter(of, LAYOUT, 1)
    for number in range(first, first + steps):
        writer.append(0, step(number, terminated=number == first + steps - 1))
    writer.end_episode(0, None)
    return writer


def test_items_are_windows_padded_with_zeros_around_the_episode() -> None:
    made = table()
    play(made, 3)
    rows = all_items(made)
    # Stack 2 and n 2: frames t-1 .. t+2.
    assert frames_of(rows) == [[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 0]]
    assert rows.columns["action"].tolist() == [1, 2, 0]
    assert rows.columns["reward"].tolist() == [[1, 2], [2, 3], [3, 0]]
    assert rows.columns["terminated"].tolist() == [[0, 0], [0, 1], [1, 0]]
    assert rows.columns["valid"].tolist() == [[1, 1], [1, 1], [1, 0]]
    assert rows.columns["teacher_outputs"][:, 0].tolist() == [1, 2, 3]
    batch = decode_batch(rows.columns, LAYOUT, discount=0.5)
    # 1 + 2/2, 2 + 3/2, 3
    assert batch.n_step_return.tolist() == [2.0, 3.5, 3.0]
    assert batch.discount.tolist() == [0.25, 0.0, 0.0]


def test_an_episode_that_is_cut_off_bootstraps_from_its_final_frame() -> None:
    made = table()
    writer = LocalWriter(made, LAYOUT, 1)
    writer.append(0, step(1, labelled=False))
    writer.end_episode(0, frame(9))
    rows = all_items(made)
    assert frames_of(rows) == [[0, 1, 9, 0]]
    assert rows.columns["valid"].tolist() == [[1, 0]]
    assert rows.columns["has_teacher"].tolist() == [0]


def test_episodes_of_several_environments_do_not_mix() -> None:
    made = table()
    writer = LocalWriter(made, LAYOUT, 2)
    for number in (1, 2, 3):
        writer.append(0, step(number, terminated=number == 3))
        writer.append(1, step(10 * number, terminated=number == 3))
    writer.end_episode(0, None)
    writer.end_episode(1, None)
    assert sorted(frames_of(all_items(made))) == [
        [0, 1, 2, 3],
        [0, 10, 20, 30],
        [1, 2, 3, 0],
        [2, 3, 0, 0],
        [10, 20, 30, 0],
        [20, 30, 0, 0],
    ]


def test_the_oldest_items_go_when_it_is_full_and_the_others_keep_their_rows() -> None:
    made = table(capacity=5)
    for episode in range(500):
        play(made, 4, first=1 + 5 * (episode % 40))
    assert (made.count, made.inserted) == (5, 2_000)
    first = 1 + 5 * (499 % 40)
    before = 1 + 5 * (498 % 40)
    assert frames_of(all_items(made)) == [
        [before + 2, before + 3, 0, 0],
        [0, first, first + 1, first + 2],
        [first, first + 1, first + 2, first + 3],
        [first + 1, first + 2, first + 3, 0],
        [first + 2, first + 3, 0, 0],
    ]


def test_a_bounded_table_takes_so_many_items_and_no_more() -> None:
    made = table(most_inserted=4)
    play(made, 3)
    assert not made.is_complete
    play(made, 3, first=11)
    assert made.is_complete
    assert made.inserted == 4
    assert frames_of(all_items(made))[-1] == [0, 11, 12, 13]


def test_an_episode_that_outlasts_many_others_keeps_its_open_rows() -> None:
    made = table(capacity=10)
    writer = LocalWriter(made, LAYOUT, 2)
    writer.append(0, step(1))
    writer.append(0, step(2))
    for _ in range(3_000):
        writer.append(1, step(7, terminated=True))
        writer.end_episode(1, None)
    writer.append(0, step(3, terminated=True))
    writer.end_episode(0, None)
    assert frames_of(all_items(made))[-3:] == [[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 0]]


def test_draws_are_uniform_over_what_is_there() -> None:
    made = table(capacity=30)
    for _ in range(20):
        play(made, 4)
    keys = made.draw(30_000, np.random.default_rng(0))
    assert (keys.min(), keys.max()) == (50, 79)
    counts = np.bincount(keys - 50, minlength=30)
    assert stats.chisquare(counts).pvalue > 1e-4
    assert made.rows_of(keys[:5]).relative_probability.tolist() == [1.0] * 5


def test_prioritised_draws_follow_priorities_raised_to_the_exponent() -> None:
    made = table(capacity=6, priority_exponent=0.5)
    priorities = iter([1.0, 1.0, 4.0, 9.0, 16.0, 0.0, 25.0, 1.0])
    writer = LocalWriter(made, LAYOUT, 1, priority=lambda: next(priorities))
    for number in range(1, 9):
        writer.append(0, step(number, terminated=number == 8))
    writer.end_episode(0, None)
    # Of the last six, in the order of their keys 2 to 7: roots 2, 3, 4, 0, 5, 1, of 15 in all.
    weights = np.array([2, 3, 4, 0, 5, 1]) / 15
    keys = made.draw(30_000, np.random.default_rng(0))
    counts = np.bincount(keys - 2, minlength=6)
    assert counts[3] == 0
    drawn = weights > 0
    assert stats.chisquare(counts[drawn], 30_000 * weights[drawn]).pvalue > 1e-4
    found = made.rows_of(np.array([2, 6])).relative_probability
    np.testing.assert_allclose(found, [6 * 2 / 15, 6 * 5 / 15])


def test_priorities_change_what_is_drawn_and_those_of_items_that_are_gone_do_not() -> None:
    made = table(capacity=4, priority_exponent=1.0)
    play(made, 6)
    keys = np.array([0, 1, 2, 3, 4, 5], np.uint64)
    # 0 and 1 are gone; no number, below 0 and infinite leave the old priority.
    made.update_priorities(keys, np.array([1e9, 1e9, 3.0, np.nan, -1.0, np.inf]))
    assert made.largest_priority == pytest.approx(3.0)
    found = made.rows_of(np.arange(2, 6)).relative_probability
    np.testing.assert_allclose(found, np.array([3, 1, 1, 1]) / 6 * 4)


def test_where_all_priorities_are_0_all_items_are_as_likely() -> None:
    made = table(priority_exponent=0.5)
    writer = LocalWriter(made, LAYOUT, 1, priority=lambda: 0.0)
    for number in range(1, 5):
        writer.append(0, step(number, terminated=number == 4))
    writer.end_episode(0, None)
    assert set(made.draw(200, np.random.default_rng(0)).tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("priority", [-1.0, float("nan"), float("inf")])
def test_a_priority_that_would_spoil_all_draws_is_refused(priority: float) -> None:
    made = table(priority_exponent=0.5)
    writer = LocalWriter(made, LAYOUT, 1, priority=lambda: priority)
    writer.append(0, step(1, terminated=True))
    with pytest.raises(ValueError, match="priority of a new item"):
        writer.end_episode(0, None)


@pytest.mark.parametrize("exponent", [0.0, 0.5])
@pytest.mark.parametrize("episodes", [0, 3, 60])
def test_what_is_saved_is_restored_and_goes_on_as_before(exponent: float, episodes: int) -> None:
    made, other = (table(capacity=50, priority_exponent=exponent) for _ in range(2))
    for episode in range(episodes):
        play(made, 4, first=episode)
    if episodes:
        made.update_priorities(np.arange(made.inserted, dtype=np.uint64)[-3:], np.array([2, 3, 4]))
    other.restore(made.save())
    for one in (made, other):
        play(one, 4, first=100)
    assert (other.inserted, other.count) == (made.inserted, made.count)
    assert frames_of(all_items(other)) == frames_of(all_items(made))
    assert other.largest_priority == made.largest_priority
    draws = [one.draw(40, np.random.default_rng(1)).tolist() for one in (made, other)]
    assert draws[0] == draws[1]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("rows", np.zeros((9, 3), np.uint8), "other shapes"),
        ("items", np.zeros((2, 4), np.int64), "other shapes"),
        ("items", np.full((3, 4), 99, np.int64), "rows that are missing"),
        ("items", np.full((3, 4), -2, np.int64), "rows that are missing"),
        ("oldest_row", 0, "rows that are missing"),
        ("priorities", np.full(3, np.nan), "negative or not finite"),
    ],
)
def test_what_no_table_has_saved_is_refused(field: str, value: Any, message: str) -> None:
    made = table()
    play(made, 3)
    saved = dataclasses.replace(made.save(), **{field: value})
    with pytest.raises(ValueError, match=message):
        table().restore(saved)
