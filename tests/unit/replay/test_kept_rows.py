from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.replay.item_layout import ItemLayout, decode_batch
from services.replay.kept_rows import KeptRows, RowKeeper, load
from services.replay.undecoded_rows import Rows

LAYOUT = ItemLayout(frame_shape=(3, 2), stack_size=2, n_step=3, num_actions=4, clips_rewards=False)


def keep(blocks: list[Rows], layout: ItemLayout) -> KeptRows:
    keeper = RowKeeper(layout)
    for block in blocks:
        keeper.add(block)
    return keeper.rows()


def rows(items: int, seed: int = 0) -> Rows:
    """Items of one long episode: each shows five frames in a row, four of them the next one's."""
    random = np.random.default_rng(seed)
    frames = random.integers(0, 256, (items + LAYOUT.window - 1, *LAYOUT.frame_shape), np.uint8)
    columns = {
        name: random.integers(0, 2, (items, *shape)).astype(dtype)
        for name, (shape, dtype) in LAYOUT.item_columns().items()
    }
    columns["frame"] = np.stack([frames[item : item + LAYOUT.window] for item in range(items)])
    # Ones come first.
    columns["valid"] = -np.sort(-columns["valid"].astype(int), axis=1).astype(np.uint8)
    columns["valid"][:, 0] = 1
    columns["reward"] += random.normal(size=columns["reward"].shape).astype(np.float32)
    return Rows(columns, np.arange(items, dtype=np.uint64), np.ones(items))


@given(st.integers(1, 12), st.integers(1, 5), st.lists(st.integers(0, 11), min_size=1, max_size=9))
def test_what_is_drawn_is_what_came_in(items: int, block: int, wanted: list[int]) -> None:
    everything = rows(items)
    blocks = [everything.rows(slice(at, at + block)) for at in range(0, items, block)]
    kept = keep(blocks, LAYOUT)
    numbers = np.array(wanted, np.int64) % items
    assert kept.count == items
    drawn, expected = kept.draw(numbers), everything.rows(numbers)
    for actual, wanted_column in zip(
        decode_batch(drawn.columns, LAYOUT, 0.9),
        decode_batch(expected.columns, LAYOUT, 0.9),
        strict=True,
    ):
        np.testing.assert_array_equal(actual, wanted_column)


def test_a_frame_is_kept_once_however_many_items_show_it() -> None:
    # 10 items show 5 frames each; 10 + 4 differ.
    assert len(keep([rows(10)], LAYOUT).frames) == 14


def test_a_file_brings_everything_back(tmp_path: Path) -> None:
    kept = keep([rows(10)], LAYOUT)
    kept.save(tmp_path / "kept.npz")
    numbers = np.arange(10)
    for actual, expected in zip(
        load(tmp_path / "kept.npz", LAYOUT).draw(numbers).columns.items(),
        kept.draw(numbers).columns.items(),
        strict=True,
    ):
        assert actual[0] == expected[0]
        np.testing.assert_array_equal(actual[1], expected[1])


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def of_other_frames(path: Path) -> None:
    kept = keep([rows(3)], LAYOUT)
    KeptRows(kept.frames[:, :2], kept.frame_number, kept.scalars).save(path)


def of_frames_it_lacks(path: Path) -> None:
    kept = keep([rows(3)], LAYOUT)
    KeptRows(kept.frames[:2], kept.frame_number, kept.scalars).save(path)


def without_a_column(path: Path) -> None:
    kept = keep([rows(3)], LAYOUT)
    KeptRows(kept.frames, kept.frame_number, {}).save(path)


def with_objects(path: Path) -> None:
    np.savez(path, frames=np.array([{}], object))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (damaged, "damaged"),
        (of_other_frames, "other shapes"),
        (of_frames_it_lacks, "damaged"),
        (without_a_column, "other shapes"),
        (with_objects, "allow_pickle"),
    ],
)
def test_a_file_that_is_none_of_this_run_is_refused(
    tmp_path: Path, spoil: object, message: str
) -> None:
    path = tmp_path / "kept.npz"
    keep([rows(3)], LAYOUT).save(path)
    spoil(path)  # type: ignore[operator]
    with pytest.raises(ValueError, match=message):
        load(path, LAYOUT)


def test_no_item_is_nothing_to_keep() -> None:
    with pytest.raises(ValueError, match="no item"):
        keep([], LAYOUT)
