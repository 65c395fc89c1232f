"""Blocks on the device: what the compiled update sees are the batches as they were drawn."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rrl_agents.types import Batch
from services.learner.config import LearnerConfig, ShardAddress
from services.learner.placement import place_block, place_frames, stack_last
from services.replay.item_layout import ItemLayout, decode_batch
from services.replay.kept_rows import KeptRows, draw_numbered
from tests.support.learner_runs import config_of

UPDATES, ROWS, ITEMS = 3, 4, 30
LAYOUTS = [
    ItemLayout(frame_shape=(3, 2), stack_size=4, n_step=3, num_actions=2, clips_rewards=False),
    ItemLayout(frame_shape=(3, 2), stack_size=1, n_step=2, num_actions=2, clips_rewards=False),
    # No axis of frames: one image with channels, one vector.
    ItemLayout(frame_shape=(3, 2, 2), stack_size=1, n_step=3, num_actions=2, clips_rewards=False),
    ItemLayout(
        frame_shape=(5,),
        stack_size=1,
        n_step=3,
        num_actions=2,
        clips_rewards=False,
        frame_dtype="float32",
    ),
]


def config_for(layout: ItemLayout) -> LearnerConfig:
    config = config_of(Path("run"), ShardAddress(data="localhost:1", control="localhost:2"))
    spec = dataclasses.replace(
        config.spec,
        frame_shape=layout.frame_shape,
        stack_size=layout.stack_size,
        frame_dtype=layout.frame_dtype,
    )
    return dataclasses.replace(config, spec=spec, updates_per_block=UPDATES)


def kept(layout: ItemLayout) -> KeptRows:
    """One episode of items, some of which are cut off after one step."""
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (ITEMS + layout.window - 1, *layout.frame_shape))
    columns = {
        name: random.integers(0, 2, (ITEMS, *shape)).astype(dtype)
        for name, (shape, dtype) in layout.item_columns().items()
        if name != "frame"
    }
    columns["valid"][:] = 1
    columns["valid"][::3, 1:] = 0
    numbers = np.arange(ITEMS)[:, None] + np.arange(layout.window)
    return KeptRows(frames.astype(layout.frame_dtype), numbers.astype(np.int32), columns)


def drawn_directly(rows: KeptRows, layout: ItemLayout, keys: np.ndarray[Any, Any]) -> Batch:
    batch = decode_batch(rows.draw(keys.ravel().astype(np.int64)).columns, layout, 0.9)
    return Batch(*(column.reshape(*keys.shape, *column.shape[1:]) for column in batch))


def assert_update_sees(placed: Batch, expected: Batch, config: LearnerConfig) -> None:
    for update in range(len(expected.action)):
        batch = Batch(*(column[update] for column in placed))
        seen = jax.jit(lambda one: stack_last(one, config.spec))(batch)
        for name, column, wanted in zip(Batch._fields, seen, expected, strict=True):
            np.testing.assert_array_equal(column, wanted[update], err_msg=name)
            assert column.dtype == wanted.dtype


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("memory", ["host", "device"])
def test_frames_drawn_by_number_are_those_of_the_items(layout: ItemLayout, memory: str) -> None:
    config, rows = config_for(layout), kept(layout)
    frames: Any = rows.frames if memory == "host" else jax.device_put(rows.frames)
    drawn = draw_numbered(
        rows.numbered(), layout, seed=1, updates=range(7, 9), batch_size=ROWS, discount=0.9
    )
    placed = place_block(drawn.batch, config, frames)
    assert len(placed.action) == UPDATES
    assert_update_sees(placed, drawn_directly(rows, layout, drawn.item_key), config)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_batches_of_frames_arrive_as_they_are(layout: ItemLayout) -> None:
    config = config_for(layout)
    keys = np.arange(UPDATES * ROWS).reshape(UPDATES, ROWS)
    batches = drawn_directly(kept(layout), layout, keys)
    assert_update_sees(place_block(batches, config), batches, config)


def test_frames_stay_on_the_host_of_a_cpu() -> None:
    rows = kept(LAYOUTS[0])
    assert (
        jax.default_backend() != "cpu"
        or place_frames(rows.frames, config_for(LAYOUTS[0])) is rows.frames
    )
