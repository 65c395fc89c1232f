from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.replay.item_layout import ItemLayout, StepRow, decode_batch

LAYOUT = ItemLayout(frame_shape=(2, 3), stack_size=4, n_step=3, num_actions=2, clips_rewards=False)


def item(
    layout: ItemLayout, reward: list[float], terminated: list[int], valid: list[int]
) -> dict[str, NDArray[Any]]:
    """A batch of one item whose frame i is filled with i."""
    numbers = np.arange(layout.window, dtype=np.uint8)
    frames = np.broadcast_to(numbers[:, None, None], (layout.window, *layout.frame_shape))
    columns = {
        "action": np.int32(1),
        "frame": frames,
        "has_teacher": np.uint8(1),
        "reward": np.asarray(reward, np.float32),
        "teacher_outputs": np.zeros(layout.num_actions, np.float32),
        "terminated": np.asarray(terminated, np.uint8),
        "valid": np.asarray(valid, np.uint8),
    }
    return {name: np.asarray(column)[None] for name, column in columns.items()}


@pytest.mark.parametrize(
    ("reward", "terminated", "valid", "n_step_return", "discount", "newest"),
    [
        # 1 + 0.5 * 0.5 - 0.25 * 1 = 1.0; the bootstrap counts 0.5 ** 3 from frames 3..6.
        ([1.0, 0.5, -1.0], [0, 0, 0], [1, 1, 1], 1.0, 0.125, [3, 4, 5, 6]),
        # A flag that is not 1 does not reach beyond the window.
        ([1.0, 0.5, -1.0], [0, 0, 0], [255, 255, 255], 1.0, 0.125, [3, 4, 5, 6]),
        # A termination in the window leaves no bootstrap.
        ([1.0, 1.0, 0.0], [0, 1, 0], [1, 1, 0], 1.5, 0.0, None),
        # Cut off after two real steps: 1 + 0.5, and 0.5 ** 2 from frames 2..5.
        ([1.0, 1.0, 0.0], [0, 0, 0], [1, 1, 0], 1.5, 0.25, [2, 3, 4, 5]),
    ],
)
def test_a_window_bootstraps_from_the_last_frame_of_its_real_steps(
    reward: list[float],
    terminated: list[int],
    valid: list[int],
    n_step_return: float,
    discount: float,
    newest: list[int] | None,
) -> None:
    batch = decode_batch(item(LAYOUT, reward, terminated, valid), LAYOUT, 0.5)
    np.testing.assert_allclose(batch.n_step_return, [n_step_return])
    np.testing.assert_allclose(batch.discount, [discount])
    assert batch.observation.shape == batch.next_observation.shape == (1, 2, 3, 4)
    assert batch.observation[0, 0, 0].tolist() == [0, 1, 2, 3]
    if newest is not None:
        assert batch.next_observation[0, 1, 2].tolist() == newest


def test_full_windows_are_decoded_without_copying_frames() -> None:
    columns = item(LAYOUT, [0.0] * 3, [0] * 3, [1] * 3)
    batch = decode_batch(columns, LAYOUT, 0.99)
    assert np.shares_memory(batch.observation, columns["frame"])
    assert np.shares_memory(batch.next_observation, columns["frame"])


def test_dtypes_are_those_of_the_vocabulary() -> None:
    batch = decode_batch(item(LAYOUT, [0.0] * 3, [0] * 3, [1, 1, 0]), LAYOUT, 0.99)
    dtypes = [column.dtype for column in batch]
    u8, i32, f32 = np.dtype(np.uint8), np.dtype(np.int32), np.dtype(np.float32)
    assert dtypes == [u8, i32, f32, f32, u8, f32, f32, f32]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_decoding_equals_the_definition_step_by_step(data: st.DataObject) -> None:
    stack, n_step = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    shape = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple))
    dtype = data.draw(st.sampled_from(["uint8", "float32"]))
    layout = ItemLayout(
        frame_shape=shape,
        stack_size=stack,
        n_step=n_step,
        num_actions=3,
        clips_rewards=False,
        frame_dtype=dtype,
    )
    size, gamma = data.draw(st.integers(1, 6)), data.draw(st.sampled_from([0.0, 0.5, 0.99, 1.0]))
    random = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    steps = random.integers(1, n_step + 1, size)
    columns: dict[str, NDArray[Any]] = {
        "action": random.integers(0, 3, size, np.int32),
        "frame": random.integers(0, 255, (size, layout.window, *shape)).astype(dtype),
        "has_teacher": random.integers(0, 2, size, np.uint8),
        "reward": random.uniform(-1, 1, (size, n_step)).astype(np.float32),
        "teacher_outputs": random.normal(size=(size, 3)).astype(np.float32),
        # A termination ends the real steps, so it stands on the last of them or nowhere.
        "terminated": np.zeros((size, n_step), np.uint8),
        "valid": (np.arange(n_step) < steps[:, None]).astype(np.uint8),
    }
    ended = random.integers(0, 2, size).astype(bool)
    columns["terminated"][np.arange(size), steps - 1] = ended
    batch = decode_batch(columns, layout, gamma)
    for row in range(size):
        expected_return, factor = 0.0, 1.0
        for i in range(steps[row]):
            expected_return += factor * float(columns["reward"][row, i])
            factor *= gamma
        frames = columns["frame"][row]
        now = np.stack([frames[i] for i in range(stack)], axis=-1)
        later = np.stack([frames[steps[row] + i] for i in range(stack)], axis=-1)
        if stack == 1 and len(shape) != 2:
            now, later = frames[0], frames[steps[row]]
        np.testing.assert_allclose(batch.n_step_return[row], expected_return, atol=1e-6)
        np.testing.assert_allclose(batch.discount[row], 0.0 if ended[row] else factor, atol=1e-6)
        assert batch.observation.dtype == batch.next_observation.dtype == dtype
        np.testing.assert_array_equal(batch.observation[row], now)
        np.testing.assert_array_equal(batch.next_observation[row], later)
        np.testing.assert_array_equal(batch.teacher_outputs[row], columns["teacher_outputs"][row])
        assert batch.has_teacher[row] == columns["has_teacher"][row]
        assert batch.importance_weight[row] == 1


def step(**changes: Any) -> StepRow:
    values: dict[str, Any] = {
        "frame": np.zeros((2, 3), np.uint8),
        "action": 0,
        "reward": 0.0,
        "terminated": False,
        "teacher_outputs": None,
    }
    return StepRow(**{**values, **changes})


@pytest.mark.parametrize(("raw", "stored"), [(7.0, 1.0), (-3.0, -1.0), (0.25, 0.25)])
def test_rewards_are_clipped_when_stored_where_the_layout_says_so(
    raw: float, stored: float
) -> None:
    clipping = dataclasses.replace(LAYOUT, clips_rewards=True)
    assert clipping.row(step(reward=raw))["reward"] == np.float32(stored)
    assert LAYOUT.row(step(reward=raw))["reward"] == np.float32(raw)


def test_an_unanswered_row_is_marked_and_holds_zeros() -> None:
    row = LAYOUT.row(step())
    assert row["has_teacher"] == 0
    assert row["teacher_outputs"].tolist() == [0.0, 0.0]
    answered = LAYOUT.row(step(teacher_outputs=np.asarray([1.0, 2.0], np.float32)))
    assert answered["has_teacher"] == 1
    assert answered["teacher_outputs"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frame": np.zeros((3, 2), np.uint8)}, "layout has uint8"),
        ({"frame": np.zeros((2, 3), np.float32)}, "float32"),
        ({"action": 2}, r"action 2 is not in \[0, 2\)"),
        ({"teacher_outputs": np.zeros(3, np.float32)}, "teacher_outputs"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LAYOUT.row(step(**changes))


@pytest.mark.parametrize(
    ("shape", "dtype"), [((10, 10, 4), "uint8"), ((4,), "float32"), ((84, 84), "uint8")]
)
def test_rows_hold_frames_of_the_layouts_shape_and_type(shape: tuple[int, ...], dtype: str) -> None:
    layout = ItemLayout(
        frame_shape=shape,
        stack_size=1,
        n_step=2,
        num_actions=2,
        clips_rewards=False,
        frame_dtype=dtype,
    )
    frame = np.ones(shape, dtype)
    np.testing.assert_array_equal(layout.row(step(frame=frame))["frame"], frame)
    padding = layout.padding_row()["frame"]
    assert padding.shape == shape and padding.dtype == dtype and not padding.any()
    assert layout.item_columns()["frame"] == ((3, *shape), np.dtype(dtype))


@pytest.mark.parametrize(
    ("shape", "observed"), [((4,), (4,)), ((3, 3, 2), (3, 3, 2)), ((5, 2), (5, 2, 1))]
)
def test_one_frame_is_observed_as_its_environment_shows_it(
    shape: tuple[int, ...], observed: tuple[int, ...]
) -> None:
    layout = ItemLayout(
        frame_shape=shape, stack_size=1, n_step=2, num_actions=2, clips_rewards=False
    )
    columns = {
        name: np.zeros((4, *rest), dtype) for name, (rest, dtype) in layout.item_columns().items()
    }
    # Row i of the second item has frame i; it has one real step.
    columns["frame"][1] = np.arange(3).reshape(3, *[1] * len(shape))
    columns["valid"][1, 0] = 1
    batch = decode_batch(columns, layout, 0.9)
    assert batch.observation.shape == batch.next_observation.shape == (4, *observed)
    assert not batch.observation.any() and (batch.next_observation[1] == 1).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frame_shape": ()}, r"frame_shape is \(\)"),
        ({"frame_shape": (10, 0, 4)}, "sizes of at least 1"),
        ({"frame_dtype": "float64"}, "frame_dtype is 'float64'; known are uint8, float32"),
        *(({size: 0}, f"{size} is 0") for size in ("stack_size", "n_step", "num_actions")),
    ],
)
def test_a_layout_that_no_network_takes_is_refused(changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(LAYOUT, **changes)


def test_an_item_of_bytes_is_seen_as_the_columns_of_its_step() -> None:
    # Rows 0 .. 6 of an item with 4 stacked frames and 3 steps: its step is row 3.
    rows = [
        LAYOUT.row(
            step(
                frame=np.full((2, 3), number, np.uint8),
                action=number % 2,
                reward=0.5 * number,
                terminated=number == 5,
                teacher_outputs=np.asarray([number, -number], np.float32),
            )
        )
        for number in range(6)
    ]
    rows.append(LAYOUT.padding_row())
    items = np.stack([row.reshape(1).view(np.uint8) for row in rows])[None]
    columns = LAYOUT.columns(items)
    assert {name: (one.shape[1:], one.dtype) for name, one in columns.items()} == (
        LAYOUT.item_columns()
    )
    assert columns["frame"][0, :, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 0]
    assert columns["action"].tolist() == [1]
    assert columns["reward"].tolist() == [[1.5, 2.0, 2.5]]
    assert columns["teacher_outputs"].tolist() == [[3.0, -3.0]]
    assert columns["terminated"].tolist() == [[0, 0, 1]]
    assert columns["valid"].tolist() == [[1, 1, 1]]
    assert columns["has_teacher"].tolist() == [1]
    assert all(np.shares_memory(column, items) for column in columns.values())
