"""The replay ratio, waiting, checkpoints and start-up errors, on a real Reverb server."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from services.replay.checkpoint import checkpoint_replay, link_checkpoint
from services.replay.config import ReplayConfig
from services.replay.connection import TableCounts, table_counts
from services.replay.failures import ReplayTimeout, WriterStopped
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.reader import ReplayReader
from services.replay.server import ReplayServer, build_replay
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.replay.writer import ReplayWriter, WriterOptions
from services.shared.addresses import free_port
from services.shared.errors import UserError
from tests.support.patience import PATIENCE_SECONDS, wait_until

LAYOUT = ItemLayout(frame_shape=(3, 2), stack_size=4, n_step=3, num_actions=2, clips_rewards=False)
EMPTY = TableCounts(size=0, inserted=0, sampled=0, takes_inserts=True, gives_samples=False)


def config(tmp_path: Path) -> ReplayConfig:
    return ReplayConfig(
        layout=LAYOUT,
        checkpoint_root=tmp_path / "replay",
        min_student_size=20,
        samples_per_insert=4.0,
        error_buffer=40.0,
        teacher_capacity=1000,
        student_capacity=1000,
    )


def started(settings: ReplayConfig) -> ReplayServer:
    server = build_replay(settings)
    server.start()
    return server


def make_writer(server: ReplayServer, table: str, stop: threading.Event) -> ReplayWriter:
    options = WriterOptions(poll_seconds=0.05)
    return ReplayWriter(server.address, table, LAYOUT, 1, should_stop=stop.is_set, options=options)


def step(number: int) -> StepRow:
    frame = np.full(LAYOUT.frame_shape, number % 256, np.uint8)
    return StepRow(frame, number % 2, 0.0, False, None)


def write_steps(server: ReplayServer, table: str, count: int) -> None:
    """One episode, cut off."""
    writer = make_writer(server, table, threading.Event())
    for number in range(count):
        writer.append(0, step(number))
    writer.end_episode(0, step(count).frame)
    assert writer.flush(timeout_seconds=PATIENCE_SECONDS)
    writer.close()


def wait_until_steady(server: ReplayServer) -> TableCounts:
    """The student's counts once they have not changed for a second."""
    counts = EMPTY
    for _ in range(100):
        time.sleep(1.0)
        newest = table_counts(server.address)[STUDENT_TABLE]
        if newest == counts and newest != EMPTY:
            return counts
        counts = newest
    raise AssertionError(f"the counts never came to rest: {counts}")


def test_a_fast_writer_waits_and_samples_keep_to_the_ratio(tmp_path: Path) -> None:
    server = started(config(tmp_path))
    stop, stopped = threading.Event(), threading.Event()
    writer = make_writer(server, STUDENT_TABLE, stop)

    def write_for_ever() -> None:
        number = 0
        try:
            while True:
                writer.append(0, step(number))
                number += 1
        except WriterStopped:
            stopped.set()

    thread = threading.Thread(target=write_for_ever)
    thread.start()
    # Error = 4 I - S may reach 4 * 20 + 40 = 120: with nothing sampled, 30 inserts, one item more.
    counts = wait_until_steady(server)
    assert 30 <= counts.inserted <= 31
    assert counts.sampled == 0
    assert not counts.takes_inserts and counts.gives_samples

    reader = ReplayReader(server.address, LAYOUT, 0.99, 8)
    for _ in range(40):
        reader.sample(STUDENT_TABLE, timeout_seconds=PATIENCE_SECONDS)
        now = table_counts(server.address)[STUDENT_TABLE]
        assert abs(4 * now.inserted - now.sampled - 80) <= 40 + 4
    # What is sampled and not yet in a batch is bounded: 3 batches of 8.
    assert 320 <= wait_until_steady(server).sampled <= 320 + 24

    stop.set()
    assert stopped.wait(PATIENCE_SECONDS)
    thread.join()
    # No more inserts: the reader drains its share, down to error 40 and what it fetched ahead.
    batches = 40

    def is_drained() -> bool:
        nonlocal batches
        with contextlib.suppress(ReplayTimeout):
            reader.sample(STUDENT_TABLE, timeout_seconds=0.5)
            batches += 1
        last = table_counts(server.address)[STUDENT_TABLE]
        # However often the rate limiter made the reader wait, no sample was lost on the way.
        return 4 * last.inserted - last.sampled == 40 and batches == last.sampled // 8

    wait_until(is_drained, "every sample has come")
    with pytest.raises(ReplayTimeout):
        reader.sample(STUDENT_TABLE, timeout_seconds=0.5)
    last = table_counts(server.address)[STUDENT_TABLE]
    assert 4 * last.inserted - last.sampled == 40
    assert last.takes_inserts and not last.gives_samples
    reader.close()
    writer.close()
    server.stop()


def test_a_restart_restores_exactly_the_checkpoint_and_not_what_came_after(tmp_path: Path) -> None:
    settings = config(tmp_path)
    server = started(settings)
    write_steps(server, TEACHER_TABLE, 7)
    write_steps(server, STUDENT_TABLE, 25)
    reader = ReplayReader(server.address, LAYOUT, 0.99, 4)
    for _ in range(5):
        reader.sample(STUDENT_TABLE, timeout_seconds=PATIENCE_SECONDS)
    reader.close()
    # What was on its way to the reader counts as sampled, too.
    wait_until_steady(server)
    saved = table_counts(server.address)
    assert saved[STUDENT_TABLE].inserted == 25
    assert saved[STUDENT_TABLE].sampled >= 20
    checkpoint = tmp_path / "checkpoints" / "1" / "replay"
    link_checkpoint(checkpoint_replay(server.address), checkpoint)
    # Newer, and no checkpoint of the run: it lies in the working folder and must not be loaded.
    write_steps(server, TEACHER_TABLE, 50)
    unsaved = checkpoint_replay(server.address)
    server.stop()
    assert unsaved.is_dir()

    restored = started(dataclasses.replace(settings, restore_from=checkpoint))
    assert table_counts(restored.address) == saved
    assert not unsaved.exists()
    reader = ReplayReader(restored.address, LAYOUT, 0.99, 8)
    frames = [
        reader.sample(TEACHER_TABLE, PATIENCE_SECONDS).batch.observation[:, 0, 0, -1]
        for _ in range(20)
    ]
    # The teacher's 7 steps and nothing else; 160 draws miss one with probability 1e-10.
    assert set(np.concatenate(frames).tolist()) == set(range(7))
    reader.close()
    # The rate limiter continues where it stood: error 4 * 25 - S, inserts wait above 120.
    stop = threading.Event()
    writer = make_writer(restored, STUDENT_TABLE, stop)
    sampled = saved[STUDENT_TABLE].sampled
    for number in range((120 + sampled) // 4 - 25):
        writer.append(0, step(number))
    before = table_counts(restored.address)[STUDENT_TABLE].inserted
    assert before >= 25
    stop.set()
    with pytest.raises(WriterStopped):
        for number in range(100):
            writer.append(0, step(number))
    after = table_counts(restored.address)[STUDENT_TABLE]
    assert 4 * (after.inserted - 1) - after.sampled <= 120
    assert after.inserted > 25
    writer.close()
    restored.stop()


def test_starting_afresh_drops_working_checkpoints(tmp_path: Path) -> None:
    server = started(config(tmp_path))
    write_steps(server, TEACHER_TABLE, 5)
    checkpoint_replay(server.address)
    server.stop()
    fresh = started(config(tmp_path))
    assert table_counts(fresh.address) == {TEACHER_TABLE: EMPTY, STUDENT_TABLE: EMPTY}
    fresh.stop()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    server = started(config(folder))
    write_steps(server, TEACHER_TABLE, 30)
    link_checkpoint(checkpoint_replay(server.address), folder / "checkpoint")
    server.stop()
    return folder / "checkpoint"


@pytest.fixture
def checkpoint(tmp_path: Path, written: Path) -> Path:
    """A checkpoint of the test's own."""
    return Path(shutil.copytree(written, tmp_path / "checkpoint"))


@pytest.mark.parametrize("file", ["chunks.tfrecord", "items.tfrecord", "tables.tfrecord"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied"])
def test_a_damaged_checkpoint_is_refused_in_one_line(
    tmp_path: Path, checkpoint: Path, file: str, damage: str
) -> None:
    content = bytearray((checkpoint / file).read_bytes())
    middle = len(content) // 2
    content[middle] ^= 0xFF
    damaged = {"truncated": content[:middle], "flipped": content, "emptied": b""}[damage]
    (checkpoint / file).write_bytes(bytes(damaged))
    with pytest.raises(UserError, match="choose another checkpoint") as error:
        started(dataclasses.replace(config(tmp_path), restore_from=checkpoint))
    assert "\n" not in str(error.value)


def test_a_missing_checkpoint_is_refused_and_nothing_is_removed(tmp_path: Path) -> None:
    server = started(config(tmp_path))
    working = checkpoint_replay(server.address)
    server.stop()
    with pytest.raises(UserError, match="no replay checkpoint at"):
        started(dataclasses.replace(config(tmp_path), restore_from=tmp_path / "nowhere"))
    assert working.is_dir()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student_capacity": 999}, "capacity 1000 in table 'student', but now it is 999"),
        ({"samples_per_insert": 2.0}, "samples_per_insert 4 in table 'student'"),
        (
            {"student_priority_exponent": 0.5},
            "priority exponent 0 in table 'student', but now it is 0.5",
        ),
        ({"min_teacher_size": 2}, "min_size 1 in table 'teacher', but now it is 2"),
        (
            {"layout": dataclasses.replace(LAYOUT, n_step=1)},
            "n-step 3.*has.*n-step 1",
        ),
        (
            # As many rows and bytes, but other items.
            {
                "layout": dataclasses.replace(
                    LAYOUT, stack_size=LAYOUT.n_step, n_step=LAYOUT.stack_size
                )
            },
            f"stack {LAYOUT.stack_size}.* has .*stack {LAYOUT.n_step}",
        ),
    ],
)
def test_a_checkpoint_of_another_experiment_is_refused(
    tmp_path: Path, checkpoint: Path, changes: dict[str, object], message: str
) -> None:
    settings = dataclasses.replace(config(tmp_path), restore_from=checkpoint)
    with pytest.raises(UserError, match=message):
        started(dataclasses.replace(settings, **changes))


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    server = started(dataclasses.replace(config(tmp_path), port=free_port()))
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(UserError, match=f"{port}.*in use"):
        started(dataclasses.replace(config(tmp_path / "other"), port=port))
    server.stop()
    # Free again at once.
    started(dataclasses.replace(config(tmp_path), port=port)).stop()


def test_an_absent_server_is_reported_with_its_address() -> None:
    address = f"localhost:{free_port()}"
    with pytest.raises(ReplayTimeout, match=address):
        table_counts(address, timeout_seconds=1)


def test_tensorflow_has_no_gpu_to_take() -> None:
    import tensorflow as tf

    assert tf.config.list_physical_devices("GPU") == []


def test_a_reader_that_waits_for_the_rate_limiter_can_be_closed(tmp_path: Path) -> None:
    server = started(config(tmp_path))
    write_steps(server, STUDENT_TABLE, 10)
    threads = {*threading.enumerate()}
    reader = ReplayReader(server.address, LAYOUT, 0.99, 4)
    # Nothing is sampled before 20 items are there.
    with pytest.raises(ReplayTimeout):
        reader.sample(STUDENT_TABLE, timeout_seconds=0.5)
    reader.close()
    assert {*threading.enumerate()} <= threads
    write_steps(server, STUDENT_TABLE, 15)
    assert wait_until_steady(server).sampled == 0
    server.stop()


def test_closing_a_reader_ends_its_own_wait_and_no_other(tmp_path: Path) -> None:
    server = started(config(tmp_path))
    write_steps(server, STUDENT_TABLE, 25)
    closed, kept = (ReplayReader(server.address, LAYOUT, 0.99, 4) for _ in range(2))

    def drain(reader: ReplayReader) -> None:
        with pytest.raises(ReplayTimeout):
            while True:
                reader.sample(STUDENT_TABLE, timeout_seconds=0.5)

    def waiting() -> int:
        return sum(thread.name == f"replay-{STUDENT_TABLE}" for thread in threading.enumerate())

    # Error 4 * 25 - S stops both at 40; the first waits in a read that began after the other's.
    kept.sample(STUDENT_TABLE, timeout_seconds=PATIENCE_SECONDS)
    drain(closed)
    drain(kept)
    assert waiting() == 2
    closed.close()
    assert waiting() == 1
    write_steps(server, STUDENT_TABLE, 2)
    kept.sample(STUDENT_TABLE, timeout_seconds=PATIENCE_SECONDS)
    kept.close()
    assert waiting() == 0
    server.stop()


def bounded(tmp_path: Path, teacher_steps: int) -> ReplayConfig:
    return dataclasses.replace(config(tmp_path), teacher_steps=teacher_steps)


def test_the_teachers_table_takes_as_many_steps_as_were_asked_for_whoever_writes(
    tmp_path: Path,
) -> None:
    server = started(bounded(tmp_path, 100))
    stop = threading.Event()
    stopped: list[int] = []

    def write_without_end() -> None:
        writer = make_writer(server, TEACHER_TABLE, stop)
        try:
            for number in range(10_000):
                writer.append(0, step(number))
        except WriterStopped:
            stopped.append(number)
        writer.close()

    writers = [threading.Thread(target=write_without_end, daemon=True) for _ in range(3)]
    for writer in writers:
        writer.start()
    wait_until(lambda: table_counts(server.address)[TEACHER_TABLE].inserted >= 100)
    time.sleep(1.0)
    full = table_counts(server.address)[TEACHER_TABLE]
    assert (full.inserted, full.size, full.takes_inserts) == (100, 100, False)
    # A checkpoint is written while they wait, and reading neither waits nor makes room.
    link_checkpoint(checkpoint_replay(server.address), tmp_path / "checkpoint")
    reader = ReplayReader(server.address, LAYOUT, 0.99, 32)
    for _ in range(50):
        reader.sample(TEACHER_TABLE, PATIENCE_SECONDS)
    reader.close()
    assert table_counts(server.address)[TEACHER_TABLE].inserted == 100
    stop.set()
    for writer in writers:
        writer.join(PATIENCE_SECONDS)
    assert len(stopped) == 3
    server.stop()
    # What is restored is as full as it was.
    restored = started(
        dataclasses.replace(bounded(tmp_path, 100), restore_from=tmp_path / "checkpoint")
    )
    assert table_counts(restored.address)[TEACHER_TABLE].inserted == 100
    assert not table_counts(restored.address)[TEACHER_TABLE].takes_inserts
    restored.stop()
