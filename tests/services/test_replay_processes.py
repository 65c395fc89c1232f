"""Replay across processes, over gRPC: in one process Reverb takes a short cut past the network."""

from __future__ import annotations

import dataclasses
import multiprocessing
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from services.replay.checkpoint import checkpoint_replay, link_checkpoint
from services.replay.config import ReplayConfig
from services.replay.connection import table_counts as counts_of
from services.replay.failures import ReplayTimeout, WriterStopped
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.reader import ReplayReader
from services.replay.server import build_replay
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.replay.writer import ReplayWriter
from services.shared.addresses import free_port
from tests.faults.links import Cut, LinkConfig, Links
from tests.support.patience import PATIENCE_SECONDS, wait_until

LAYOUT = ItemLayout(
    frame_shape=(84, 84), stack_size=4, n_step=3, num_actions=6, clips_rewards=False
)


def serve(config: ReplayConfig) -> None:
    server = build_replay(config)
    server.start()
    signal.pause()
    server.stop()


def start(config: ReplayConfig) -> BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(config,))
    process.start()
    return process


def kill(process: BaseProcess) -> None:
    process.kill()
    process.join()


@pytest.fixture
def config(tmp_path: Path) -> ReplayConfig:
    return ReplayConfig(
        layout=LAYOUT,
        checkpoint_root=tmp_path / "replay",
        port=free_port(),
        min_student_size=1,
        student_priority_exponent=0.5,
    )


@pytest.fixture
def processes(config: ReplayConfig) -> Iterator[list[BaseProcess]]:
    running = [start(config)]
    yield running
    for process in running:
        kill(process)


def step(number: int) -> StepRow:
    frame = np.full(LAYOUT.frame_shape, number % 256, np.uint8)
    return StepRow(frame, number % 6, 0.0, False, np.arange(6, dtype=np.float32))


def check_priorities(address: str) -> None:
    """Items 0 and 1 with priorities 1 and 9 are drawn as 1 to 3; then only item 0 is."""
    priorities = [1.0, 9.0]
    writer = ReplayWriter(address, STUDENT_TABLE, LAYOUT, 1, priority=lambda: priorities.pop(0))
    for number in range(2):
        writer.append(0, step(number))
    writer.end_episode(0, step(2).frame)
    assert writer.flush(timeout_seconds=PATIENCE_SECONDS)
    writer.close()
    reader = ReplayReader(address, LAYOUT, 0.99, 64, importance_exponent=0.5)
    sample = reader.sample(STUDENT_TABLE, timeout_seconds=PATIENCE_SECONDS)
    drawn = sample.batch.observation[:, 0, 0, -1]
    # (3 / 1)^-0.5 beside 1; 64 draws miss item 0 with a probability of 0.75^64 = 1e-8.
    np.testing.assert_allclose(
        sample.batch.importance_weight, np.where(drawn == 0, 1, 3**-0.5), rtol=1e-6
    )
    reader.update_priorities(sample, np.where(drawn == 0, 1e8, 0.0))
    reader.close()
    reader = ReplayReader(address, LAYOUT, 0.99, 64)
    sample = reader.sample(STUDENT_TABLE, timeout_seconds=PATIENCE_SECONDS)
    assert (sample.batch.observation[:, 0, 0, -1] == 0).all()
    reader.close()


def test_a_reader_can_be_closed_whatever_became_of_its_server(
    config: ReplayConfig, processes: list[BaseProcess]
) -> None:
    address = f"localhost:{config.port}"
    writer = ReplayWriter(address, TEACHER_TABLE, LAYOUT, 1)
    for number in range(40):
        writer.append(0, step(number))
    assert writer.flush(timeout_seconds=PATIENCE_SECONDS)
    writer.close()
    threads = {*threading.enumerate()}
    reader = ReplayReader(address, LAYOUT, 0.99, 32)
    reader.sample(TEACHER_TABLE, timeout_seconds=PATIENCE_SECONDS)
    with pytest.raises(ReplayTimeout):
        reader.sample(STUDENT_TABLE, timeout_seconds=0.2)
    kill(processes.pop())
    # Until what had been fetched is used up, nothing tells that the server is gone.
    with pytest.raises(ReplayTimeout):
        while True:
            reader.sample(TEACHER_TABLE, timeout_seconds=0.5)
    reader.close()
    wait_until(lambda: {*threading.enumerate()} <= threads, "no thread is left")


def test_a_reader_whose_connection_was_forgotten_reads_on_over_another(
    config: ReplayConfig, processes: list[BaseProcess]
) -> None:
    fill = ReplayWriter(f"localhost:{config.port}", TEACHER_TABLE, LAYOUT, 1)
    for number in range(40):
        fill.append(0, step(number))
    assert fill.flush(timeout_seconds=PATIENCE_SECONDS)
    fill.close()
    way = LinkConfig(client="learner", server="replay", port=free_port(), server_port=config.port)
    with Links([way]) as links:
        reader = ReplayReader(f"127.0.0.1:{way.port}", LAYOUT, 0.99, 32)
        reader.sample(TEACHER_TABLE, timeout_seconds=PATIENCE_SECONDS)
        # As a firewall does: packets of this connection are dropped from now on, without a reset.
        links.cut(["learner"], Cut.FORGOTTEN)
        links.heal(["learner"])
        with pytest.raises(ReplayTimeout):
            while True:
                reader.sample(TEACHER_TABLE, timeout_seconds=2.0)
        reader.close()
        for _ in range(100):
            reader.sample(TEACHER_TABLE, timeout_seconds=PATIENCE_SECONDS)
        reader.close()


@pytest.mark.slow
def test_clients_survive_a_killed_server_and_its_checkpoint_is_there_after_a_restart(
    config: ReplayConfig, processes: list[BaseProcess], tmp_path: Path
) -> None:
    address = f"localhost:{config.port}"
    stop = threading.Event()
    writer = ReplayWriter(address, TEACHER_TABLE, LAYOUT, 1, should_stop=stop.is_set)
    for number in range(40):
        writer.append(0, step(number))
    assert writer.flush(timeout_seconds=PATIENCE_SECONDS)
    # Of 40 steps the last 3 wait for their windows.
    assert counts_of(address)[TEACHER_TABLE].inserted == 37
    reader = ReplayReader(address, LAYOUT, 0.99, 32)
    batch = reader.sample(TEACHER_TABLE, timeout_seconds=PATIENCE_SECONDS).batch
    newest = batch.observation[:, 0, 0, -1]
    assert newest.max() <= 36
    np.testing.assert_array_equal(batch.action, newest % 6)
    np.testing.assert_array_equal(batch.next_observation[:, 5, 5, -1], newest + 3)
    with pytest.raises(ReplayTimeout):
        reader.sample(STUDENT_TABLE, timeout_seconds=0.2)
    check_priorities(address)
    started = time.monotonic()
    reader.close()
    assert time.monotonic() - started < 60

    link_checkpoint(checkpoint_replay(address), tmp_path / "checkpoint")
    kill(processes.pop())
    # No server answers: the writer waits, until it is asked to stop.
    stop.set()
    with pytest.raises(WriterStopped):
        for number in range(40, 80):
            writer.append(0, step(number))
    started = time.monotonic()
    writer.close()
    assert time.monotonic() - started < 60

    # Another port, as gRPC waits half a minute before it tries a lost address again.
    config = dataclasses.replace(config, restore_from=tmp_path / "checkpoint", port=free_port())
    restored = build_replay(config)
    restored.start()
    address = restored.address
    writer = ReplayWriter(address, TEACHER_TABLE, LAYOUT, 1)
    for number in range(13):
        writer.append(0, step(number))
    assert writer.flush(timeout_seconds=PATIENCE_SECONDS)
    writer.close()
    # 37 from the checkpoint, then 10 whose windows are complete.
    assert counts_of(address)[TEACHER_TABLE].inserted == 47
    reader = ReplayReader(address, LAYOUT, 0.99, 32)
    assert len(reader.sample(TEACHER_TABLE, timeout_seconds=PATIENCE_SECONDS).batch.action) == 32
    reader.close()
    restored.stop()
