"""The teacher's data in the learner's own memory: the same transitions, drawn the same way."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rrl_agents.types import Batch, Stage
from services.learner.loop import Learner
from services.learner.replay_feed import TEACHER_DATA_FILE
from services.replay import table_reader
from services.replay.connection import table_counts
from services.replay.failures import WriterStopped
from services.replay.item_layout import StepRow, decode_batch
from services.replay.kept_rows import KeptRows, load
from services.replay.reader import ReplayReader
from services.replay.reverb_library import reverb
from services.replay.sample_stream import SampleStream
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.replay.writer import ReplayWriter
from services.shared.errors import UserError
from tests.support.learner_runs import (
    LAYOUT,
    STEPS,
    ReplayShard,
    Workplace,
    config_of,
    fill,
    joined,
    no_place_for_checkpoints,
    state_of,
    wait_for,
    work,
    working,
)
from tests.support.patience import PATIENCE_SECONDS


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[Workplace]:
    """A place whose learner keeps the teacher's data, with both tables filled."""
    run = tmp_path / "run"
    run.mkdir()
    replay = ReplayShard(run / "replay", gives_once=True)
    config = dataclasses.replace(config_of(run, replay.shard), keeps_teacher_data=True)
    place = Workplace(run=run, replay=replay, learner=joined(config), config=config)
    fill(replay.address, TEACHER_TABLE)
    fill(replay.address, STUDENT_TABLE)
    yield place
    place.learner.close()
    place.replay.stop()


def kept_by(learner: Learner) -> KeptRows:
    kept = learner._feed.reader.teacher_data
    assert kept is not None
    return kept


def as_set(batch: Batch) -> set[tuple[bytes, ...]]:
    columns = [np.asarray(column) for column in batch]
    return {tuple(column[i].tobytes() for column in columns) for i in range(len(batch.action))}


def test_all_transitions_are_there_as_reverb_gives_them(keeping: Workplace, tmp_path: Path) -> None:
    work(keeping.learner, 1)
    kept = kept_by(keeping.learner)
    assert kept.count == STEPS
    assert table_counts(keeping.replay.address)[TEACHER_TABLE].size == 0
    # 10 episodes of 10 frames; Catch's are often alike, and zeros pad them.
    assert len(kept.frames) <= 10 * 10 + 1
    here = as_set(decode_batch(kept.draw(np.arange(STEPS)).columns, LAYOUT, 0.99))
    uniform = ReplayShard(tmp_path / "uniform")
    fill(uniform.address, TEACHER_TABLE)
    reader = ReplayReader(uniform.address, LAYOUT, 0.99, 1024)
    # One of 90 is missed by 3,072 uniform draws with probability (1 - 1/90)^3072 = 1e-15.
    batches = [reader.sample(TEACHER_TABLE, PATIENCE_SECONDS).batch for _ in range(3)]
    reader.close()
    uniform.stop()
    assert set.union(*map(as_set, batches)) == here


def test_all_are_drawn_alike_and_the_draws_of_an_update_are_its_own(keeping: Workplace) -> None:
    work(keeping.learner, 1)
    reader = keeping.learner._feed.reader
    block = reader.sample_mixed(1.0, PATIENCE_SECONDS, range(7, 607)).sample
    counts = np.bincount(block.item_key.ravel().astype(int), minlength=STEPS)
    # 600 x 32 draws of 90: chi-squared with 89 degrees of freedom is above 170 once in 10^6 times.
    expected = 600 * 32 / STEPS
    assert np.sum((counts - expected) ** 2 / expected) < 170
    assert not block.from_student.any()
    one = reader.sample_mixed(1.0, PATIENCE_SECONDS, range(9, 10)).sample
    np.testing.assert_array_equal(one.item_key[0], block.item_key[2])


@contextlib.contextmanager
def actors_that_never_stop(address: str) -> Iterator[None]:
    """Two actors with four environments each, which play into the teacher's table."""
    stop = threading.Event()

    def play(seed: int) -> None:
        random = np.random.default_rng(seed)
        writer = ReplayWriter(address, TEACHER_TABLE, LAYOUT, 4, should_stop=stop.is_set)
        with contextlib.closing(writer), contextlib.suppress(WriterStopped):
            while not stop.is_set():
                for env in range(4):
                    frame = random.integers(0, 256, LAYOUT.frame_shape, np.uint8)
                    writer.append(env, StepRow(frame, 0, 0.0, False, None))

    threads = [threading.Thread(target=play, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)


def test_actors_that_play_while_it_is_read_add_nothing_to_it(tmp_path: Path) -> None:
    replay = ReplayShard(tmp_path / "replay", gives_once=True)
    config = dataclasses.replace(config_of(tmp_path, replay.shard), keeps_teacher_data=True)
    learner = joined(config)
    with actors_that_never_stop(replay.address):
        # Its inserts wait from here on.
        wait_for(lambda: table_counts(replay.address)[TEACHER_TABLE].inserted, STEPS.__eq__)
        work(learner, 2)
        assert kept_by(learner).count == STEPS
        learner._feed.count()
        assert learner.progress.teacher_steps == STEPS
        # Reverb lets a single one into a table that is empty.
        wait_for(lambda: table_counts(replay.address)[TEACHER_TABLE].inserted, (STEPS + 1).__eq__)
        assert table_counts(replay.address)[TEACHER_TABLE].size == 1
    learner.close()
    replay.stop()


def test_a_run_learns_the_same_in_blocks_of_any_size_and_after_a_stop(
    keeping: Workplace, tmp_path: Path
) -> None:
    def after_six_updates(learner: Learner) -> None:
        work(learner, 6)
        states.append(state_of(learner).params)

    states: list[object] = []
    work(keeping.learner, 3)
    keeping.learner.save_checkpoint()
    keeping.learner.close()
    keeping.learner = joined(keeping.config)
    assert keeping.learner.progress.learner_updates == 3
    after_six_updates(keeping.learner)
    other = tmp_path / "other"
    other.mkdir()
    replay = ReplayShard(other / "replay", gives_once=True)
    config = dataclasses.replace(
        config_of(other, replay.shard), keeps_teacher_data=True, updates_per_block=3
    )
    fill(replay.address, TEACHER_TABLE)
    learner = joined(config)
    after_six_updates(learner)
    learner.close()
    replay.stop()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *states)


def test_a_learner_killed_before_it_has_written_the_data_reads_it_again(
    keeping: Workplace,
) -> None:
    work(keeping.learner, 2)
    keeping.learner.close()
    # As after a kill between the reading and the writing: the checkpoint is from before both.
    (keeping.run / TEACHER_DATA_FILE).unlink()
    keeping.learner = joined(keeping.config)
    assert keeping.learner.progress.stage is Stage.OFFLINE
    assert keeping.learner.progress.learner_updates == 0
    work(keeping.learner, 2)
    assert kept_by(keeping.learner).count == STEPS


def test_data_that_is_gone_everywhere_is_missed_in_words(keeping: Workplace) -> None:
    work(keeping.learner, 2)
    keeping.learner.save_checkpoint()
    keeping.learner.close()
    (keeping.run / TEACHER_DATA_FILE).unlink()
    keeping.learner = joined(keeping.config)
    with pytest.raises(UserError, match=r"teacher_data\.npz, which is missing"):
        work(keeping.learner, 3)


def test_a_shard_without_data_of_the_teacher_adds_nothing(tmp_path: Path) -> None:
    # Recorded data goes into one shard.
    empty, full = (ReplayShard(tmp_path / name, gives_once=True) for name in ("empty", "full"))
    config = config_of(tmp_path, empty.shard, full.shard)
    learner = joined(dataclasses.replace(config, keeps_teacher_data=True))
    fill(full.address, TEACHER_TABLE)
    work(learner, 1)
    assert kept_by(learner).count == STEPS
    learner.close()
    empty.stop()
    full.stop()


def test_transitions_that_are_lost_on_the_way_are_read_again_from_the_checkpoint(
    keeping: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping.learner.save_checkpoint()
    keeping.learner.close()
    losses: list[str] = []

    def after_a_loss(address: str, *others: Any, **settings: Any) -> Any:
        if not losses:
            losses.append(address)
            # As with a connection that breaks: given, and never there.
            list(reverb.Client(address).sample(TEACHER_TABLE, 5, emit_timesteps=False))
        return SampleStream(address, *others, **settings)

    monkeypatch.setattr(table_reader, "SampleStream", after_a_loss)
    monkeypatch.setattr(table_reader, "_TIMEOUT_MS", 500)
    with working(keeping.config) as progress:
        wait_for(progress, lambda got: got.learner_updates >= 1)
    assert len(losses) == 1
    assert load(keeping.run / TEACHER_DATA_FILE, LAYOUT).count == STEPS


def test_nothing_is_read_before_a_checkpoint_has_it(keeping: Workplace) -> None:
    learner, stop = keeping.learner, threading.Event()
    # It does not wait before the next attempt.
    stop.set()
    (keeping.run / "checkpoints").mkdir(exist_ok=True)
    with no_place_for_checkpoints(keeping.run):
        for _ in range(3):
            learner.step(stop)
        assert learner.progress.stage is Stage.OFFLINE
        assert table_counts(keeping.replay.address)[TEACHER_TABLE].size == STEPS
    work(learner, 1)
    assert kept_by(learner).count == STEPS


def test_the_data_is_released_where_it_is_drawn_from_no_longer(keeping: Workplace) -> None:
    learner = keeping.learner
    # 6 offline, the others online without rows of the teacher.
    work(learner, 6)
    frames = weakref.ref(kept_by(learner).frames)
    work(learner, 8)
    gc.collect()
    assert frames() is None
