"""Tables in this process hold and draw what those of a real Reverb server do."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from services.actor.rollout import TransitionWriter
from services.replay.config import ReplayConfig
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.local_tables import LocalTables
from services.replay.local_writer import LocalWriter
from services.replay.sample_prefetcher import SamplePrefetcher
from services.replay.server import build_replay
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.replay.table_reader import read_once
from services.replay.undecoded_rows import Rows
from services.replay.writer import ReplayWriter

LAYOUT = ItemLayout(frame_shape=(2, 3), stack_size=3, n_step=2, num_actions=3, clips_rewards=True)
ENVS = 3
DRAWS = 6_000


def config(folder: Path, **changes: object) -> ReplayConfig:
    settings: dict[str, object] = {
        "layout": LAYOUT,
        "checkpoint_root": folder,
        "min_student_size": 1,
        # Draws alone are compared: neither side is to wait.
        "samples_per_insert": 1.0,
        "error_buffer": 1e9,
    }
    return ReplayConfig(**(settings | changes))  # type: ignore[arg-type]


@contextlib.contextmanager
def serving(of: ReplayConfig) -> Iterator[str]:
    server = build_replay(of)
    server.start()
    try:
        yield server.address
    finally:
        server.stop()


def play(writer: TransitionWriter, steps: int, envs: int = ENVS) -> None:
    """Random episodes: some terminate, some are cut off, some steps have no answer."""
    random = np.random.default_rng(0)
    for _ in range(steps):
        for env in range(envs):
            ends, terminates = random.random() < 0.2, random.random() < 0.5
            answered = random.random() < 0.8
            frame, last = random.integers(0, 256, (2, *LAYOUT.frame_shape)).astype(np.uint8)
            scores = random.random(3).astype(np.float32) if answered else None
            reward = float(random.normal(0, 2))
            action = int(random.integers(3))
            writer.append(env, StepRow(frame, action, reward, bool(ends and terminates), scores))
            if ends:
                writer.end_episode(env, None if terminates else last)


def contents(rows: Rows) -> Counter[bytes]:
    """The items, each as its bytes, and how often it is there."""
    names = sorted(rows.columns)
    items = (
        b"".join(rows.columns[name][row].tobytes() for name in names) for row in range(rows.count)
    )
    return Counter(items)


def local_student(of: ReplayConfig, folder: Path, priorities: Iterator[float]) -> LocalTables:
    tables = LocalTables(of, folder / "checkpoints")
    play(
        LocalWriter(tables.tables[STUDENT_TABLE], LAYOUT, ENVS, priority=lambda: next(priorities)),
        20,
    )
    return tables


@pytest.mark.parametrize(
    ("envs", "capacity"), [pytest.param(ENVS, 1_000, id="all"), pytest.param(1, 50, id="newest")]
)
def test_the_same_episodes_make_the_same_items(tmp_path: Path, envs: int, capacity: int) -> None:
    # Reverb's order is that of each environment alone, so that the oldest of several may differ.
    of = config(tmp_path / "working", gives_teacher_data_once=True, teacher_capacity=capacity)
    tables = LocalTables(of, tmp_path / "checkpoints")
    local = tables.tables[TEACHER_TABLE]
    play(LocalWriter(local, LAYOUT, envs), 100, envs)
    with serving(of) as address:
        writer = ReplayWriter(address, TEACHER_TABLE, LAYOUT, envs)
        play(writer, 100, envs)
        assert writer.flush(60)
        found = sum(
            (contents(block) for block in read_once(address, TEACHER_TABLE, LAYOUT)), Counter()
        )
        writer.close()
    assert local.count == min(capacity, local.inserted)
    kept = local.rows_of(np.arange(local.inserted - local.count, local.inserted))
    assert contents(kept) == found


@pytest.mark.parametrize("exponent", [0.0, 0.5])
def test_items_are_drawn_with_the_same_probabilities(tmp_path: Path, exponent: float) -> None:
    of = config(tmp_path / "working", student_priority_exponent=exponent)
    given = np.random.default_rng(1).random(200) * 10
    local = local_student(of, tmp_path, iter(given)).tables[STUDENT_TABLE]
    drawn_here = local.rows_of(local.draw(DRAWS, np.random.default_rng(2)))
    with serving(of) as address:
        priorities = iter(given)
        writer = ReplayWriter(
            address, STUDENT_TABLE, LAYOUT, ENVS, priority=lambda: next(priorities)
        )
        play(writer, 20)
        assert writer.flush(60)
        drawn_there = _drawn(address)
        writer.close()
    here, there = _counts(drawn_here), _counts(drawn_there)
    assert here.keys() == there.keys()
    names = sorted(here)
    table = np.array([[one[name] for name in names] for one in (here, there)])
    assert stats.chi2_contingency(table).pvalue > 1e-4
    # Both say of each item how likely it is.
    np.testing.assert_allclose(
        *(_probabilities(rows, names) for rows in (drawn_here, drawn_there)), rtol=1e-5
    )


def _drawn(address: str) -> Rows:
    prefetcher = SamplePrefetcher(
        address, STUDENT_TABLE, LAYOUT, block_rows=500, blocks_ahead=1, samplers=1
    )
    try:
        prefetcher.wait_for(DRAWS, 60)
        return prefetcher.take(DRAWS)
    finally:
        prefetcher.close()


def _names(rows: Rows) -> list[bytes]:
    """An item's name: all its frames and its action, by which items differ."""
    frames, actions = rows.columns["frame"], rows.columns["action"]
    return [frames[row].tobytes() + actions[row].tobytes() for row in range(rows.count)]


def _counts(rows: Rows) -> Counter[bytes]:
    return Counter(_names(rows))


def _probabilities(rows: Rows, names: list[bytes]) -> NDArray[np.float64]:
    of_name = dict(zip(_names(rows), rows.relative_probability.tolist(), strict=True))
    return np.array([of_name[name] for name in names])
