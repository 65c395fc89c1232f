"""Prioritised replay on a real Reverb server: what is drawn, how often, and how it is weighed."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from services.replay.checkpoint import checkpoint_replay, link_checkpoint
from services.replay.config import ReplayConfig
from services.replay.connection import table_counts
from services.replay.failures import WriterStopped
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.reader import ReplayReader
from services.replay.samples import Sample
from services.replay.server import ReplayServer, build_replay
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.replay.writer import ReplayWriter
from tests.support.patience import PATIENCE_SECONDS, wait_until

LAYOUT = ItemLayout(frame_shape=(3, 2), stack_size=1, n_step=1, num_actions=2, clips_rewards=False)
NEVER = 1e9


def config(tmp_path: Path) -> ReplayConfig:
    return ReplayConfig(
        layout=LAYOUT,
        checkpoint_root=tmp_path / "replay",
        min_student_size=1,
        student_capacity=100,
        student_priority_exponent=0.5,
        error_buffer=NEVER,
    )


@contextlib.contextmanager
def serving(settings: ReplayConfig) -> Iterator[ReplayServer]:
    server = build_replay(settings)
    server.start()
    yield server
    server.stop()


@contextlib.contextmanager
def reading(address: str, batch_size: int, importance_exponent: float) -> Iterator[ReplayReader]:
    reader = ReplayReader(
        address, LAYOUT, 0.99, batch_size, importance_exponent=importance_exponent
    )
    yield reader
    reader.close()


def write(address: str, table: str, priorities: dict[int, float]) -> None:
    """One item per number, which its frame shows, with its priority."""
    waiting = list(priorities.values())
    writer = ReplayWriter(address, table, LAYOUT, 1, priority=lambda: waiting.pop(0))
    for number in priorities:
        writer.append(0, step(number))
    writer.end_episode(0, step(0).frame)
    assert writer.flush(timeout_seconds=PATIENCE_SECONDS)
    writer.close()


def step(number: int) -> StepRow:
    return StepRow(np.full(LAYOUT.frame_shape, number, np.uint8), 0, 0.0, False, None)


def numbers(sample: Sample) -> NDArray[np.int64]:
    """Which items the rows are of."""
    return np.asarray(sample.batch.observation[..., 0, 0, 0], np.int64)


def test_items_are_drawn_by_the_root_of_their_priority_and_weights_undo_it(tmp_path: Path) -> None:
    with serving(config(tmp_path)) as server:
        write(server.address, STUDENT_TABLE, {k: float(k * k) for k in (1, 2, 3, 4, 5)})
        # The least likely item, with 1/15, is in all but surely every batch: it weighs 1.
        with reading(server.address, 300, importance_exponent=1.0) as reader:
            samples = [reader.sample(STUDENT_TABLE, PATIENCE_SECONDS) for _ in range(20)]
    drawn = np.concatenate([numbers(sample) for sample in samples])
    weights = np.concatenate([sample.batch.importance_weight for sample in samples])
    counts = np.bincount(drawn, minlength=6)[1:]
    # p_k = k / 15 of 6000 draws.
    expected = 6000 * np.arange(1, 6) / 15
    # Chi-square with 4 degrees of freedom: above 33.4 once in a million.
    assert np.sum((counts - expected) ** 2 / expected) < 33.4
    # (N p_k)^-1 = 3 / k over its maximum 3.
    np.testing.assert_allclose(weights, 1 / drawn, rtol=1e-5)
    # Weighed, each item counts as often as any other: 6000 / 15 = 400 times.
    weighed = np.bincount(drawn, weights, minlength=6)[1:]
    deviation = np.sqrt(expected * (1 - expected / 6000)) / np.arange(1, 6)
    assert (np.abs(weighed - 400) < 5 * deviation).all()


def test_a_uniform_table_weighs_all_rows_alike(tmp_path: Path) -> None:
    settings = dataclasses.replace(config(tmp_path), student_priority_exponent=0.0)
    with serving(settings) as server:
        write(server.address, STUDENT_TABLE, {1: 1.0, 2: 100.0})
        with reading(server.address, 100, importance_exponent=0.5) as reader:
            sample = reader.sample(STUDENT_TABLE, PATIENCE_SECONDS)
        np.testing.assert_allclose(sample.batch.importance_weight, 1.0)
        # 100 draws with p = 1/2: standard deviation 5.
        assert abs(np.sum(numbers(sample) == 1) - 50) < 27


def test_the_learners_priorities_are_those_that_items_are_drawn_by(tmp_path: Path) -> None:
    with serving(config(tmp_path)) as server:
        write(server.address, STUDENT_TABLE, dict.fromkeys(range(1, 11), 1.0))
        write(server.address, TEACHER_TABLE, {20: 1.0})
        with reading(server.address, 50, importance_exponent=0.0) as reader:
            # 150 draws leave one of ten items out with probability 10 * 0.9^150 = 1e-6.
            sample = reader.sample_mixed(0.25, PATIENCE_SECONDS, updates=range(4))
            assert set(numbers(sample).flat) == {*range(1, 11), 20}
            assert sample.item_key.shape == (4, 50)
            np.testing.assert_array_equal(sample.from_student, numbers(sample) != 20)
            assert sample.item_key.dtype == np.uint64
            # Only items 3 and 7 have anything left to learn, 7 four times as much.
            losses = jnp.asarray([{3: 1e4, 7: 4e4}.get(n, 0.0) for n in numbers(sample).flat])
            assert reader.largest_priority == 0.0
            reader.update_priorities(sample, losses.reshape(4, 50))
            wait_until(lambda: reader.largest_priority > 0)
            assert reader.largest_priority == pytest.approx(4e4)
        with reading(server.address, 200, importance_exponent=0.5) as reader:
            sample = reader.sample(STUDENT_TABLE, PATIENCE_SECONDS)
    # p = 1/3 and 2/3 but for 8 items with the root of 1e-10 each, beside 300: 3e-7 of a draw.
    counts = {number: int(np.sum(numbers(sample) == number)) for number in (3, 7)}
    assert sum(counts.values()) >= 199
    # 200 draws: mean 66.7, standard deviation sqrt(200 / 3 * 2 / 3) = 6.7.
    assert abs(counts[3] - 66.7) < 5 * 6.7
    by_item = dict(zip(numbers(sample), sample.batch.importance_weight, strict=True))
    assert by_item[7] / by_item[3] == pytest.approx(1 / np.sqrt(2))


def test_items_that_have_left_the_table_meanwhile_are_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(dataclasses.replace(config(tmp_path), student_capacity=4)) as server:
        write(server.address, STUDENT_TABLE, dict.fromkeys(range(1, 5), 1.0))
        with reading(server.address, 50, 0.0) as reader, caplog.at_level(logging.WARNING):
            sample = reader.sample(STUDENT_TABLE, PATIENCE_SECONDS)
            write(server.address, STUDENT_TABLE, dict.fromkeys((11, 12, 13), 1e8))
            reader.update_priorities(sample, np.zeros(50))
        assert not caplog.records
        with reading(server.address, 200, 0.0) as reader:
            drawn = numbers(reader.sample(STUDENT_TABLE, PATIENCE_SECONDS))
    # Item 4 alone was still there. Its root of 1e-10 beside theirs of 1e8: 1e-9 of a draw.
    assert set(drawn) == {11, 12, 13}


def test_a_server_that_is_gone_costs_the_learner_nothing_but_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reader, sample = reader_of_a_stopped_server(tmp_path)
    with caplog.at_level(logging.WARNING):
        started = time.monotonic()
        for _ in range(1000):
            reader.update_priorities(sample, np.ones(8))
        # 1000 that each waited for an answer would take far longer.
        assert time.monotonic() - started < 30
        wait_until(lambda: "were lost" in caplog.text)
        started = time.monotonic()
        reader.close()
        assert time.monotonic() - started < 60
    assert caplog.text.count("were lost") == 1


def reader_of_a_stopped_server(tmp_path: Path) -> tuple[ReplayReader, Sample]:
    """Has sent priorities once, and so has a connection that breaks."""
    with serving(config(tmp_path)) as server:
        write(server.address, STUDENT_TABLE, {1: 1.0})
        reader = ReplayReader(server.address, LAYOUT, 0.99, 8)
        sample = reader.sample(STUDENT_TABLE, PATIENCE_SECONDS)
        reader.update_priorities(sample, np.ones(8))
        updates = reader._priority_updates
        wait_until(lambda: updates is not None and not updates._waiting)
    return reader, sample


def test_a_restored_checkpoint_keeps_the_priorities(tmp_path: Path) -> None:
    with serving(config(tmp_path)) as server:
        write(server.address, STUDENT_TABLE, {1: 1.0, 2: 1.0, 3: 1.0})
        with reading(server.address, 100, 0.0) as reader:
            sample = reader.sample(STUDENT_TABLE, PATIENCE_SECONDS)
            reader.update_priorities(sample, np.where(numbers(sample) == 2, 0.0, 1e8))
        link_checkpoint(checkpoint_replay(server.address), tmp_path / "checkpoint")
    settings = dataclasses.replace(config(tmp_path), restore_from=tmp_path / "checkpoint")
    with serving(settings) as restored, reading(restored.address, 200, 0.0) as reader:
        assert set(numbers(reader.sample(STUDENT_TABLE, PATIENCE_SECONDS))) == {1, 3}


@pytest.mark.parametrize("priority", [float("inf"), float("nan"), -1.0])
def test_a_priority_that_would_spoil_the_table_is_refused(tmp_path: Path, priority: float) -> None:
    with serving(config(tmp_path)) as server:
        with pytest.raises(ValueError, match="priority of a new item is"):
            write(server.address, STUDENT_TABLE, {1: priority})
        assert table_counts(server.address)[STUDENT_TABLE].inserted == 0


def test_with_a_share_of_the_teachers_rows_the_students_ratio_is_that_of_its_own(
    tmp_path: Path,
) -> None:
    """Batches of 8, every 4 steps, a quarter of them the teacher's: 0.75 * 8 / 4 = 1.5."""
    ratio, buffer, min_size = 1.5, 48.0, 20
    settings = dataclasses.replace(
        config(tmp_path),
        samples_per_insert=ratio,
        error_buffer=buffer,
        min_student_size=min_size,
        student_capacity=1000,
    )
    with serving(settings) as server:
        write(server.address, TEACHER_TABLE, dict.fromkeys(range(1, 5), 1.0))
        with playing_for_ever(server.address), reading(server.address, 8, 0.5) as reader:
            taken = 0
            for update in range(1, 151):
                taken += int(
                    reader.sample_mixed(0.25, PATIENCE_SECONDS, updates=range(1)).from_student.sum()
                )
                if update % 10 == 0:
                    now = table_counts(server.address)[STUDENT_TABLE]
                    assert abs(ratio * (now.inserted - min_size) - now.sampled) <= buffer + ratio
            # What was sampled and not yet handed out: three blocks of 8, and one partly used.
            assert 0 <= now.sampled - taken <= reader.samples_ahead + 8
    # 1200 rows with p = 3/4: standard deviation sqrt(1200 * 0.75 * 0.25) = 15.
    assert abs(taken - 900) < 5 * 15
    # So an update is made every 4 steps: 600 of them, but for the buffer and what lies ahead.
    steps = now.inserted - min_size
    assert abs(steps - taken / ratio) <= (buffer + reader.samples_ahead + 8) / ratio + 1


@contextlib.contextmanager
def playing_for_ever(address: str) -> Iterator[None]:
    """An actor as fast as the rate limiter lets it be."""
    stop = threading.Event()
    writer = ReplayWriter(address, STUDENT_TABLE, LAYOUT, 1, should_stop=stop.is_set)

    def play() -> None:
        with contextlib.suppress(WriterStopped):
            while True:
                writer.append(0, step(9))

    thread = threading.Thread(target=play)
    thread.start()
    yield
    stop.set()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    writer.close()
