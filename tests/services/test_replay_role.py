"""The replay role saves tables under a checkpoint's number, and restores them on request."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.replay import role
from services.replay.checkpoint import checkpoint_replay
from services.replay.config import ReplayConfig
from services.replay.connection import table_counts
from services.replay.control_client import ControlClient
from services.replay.control_server import control_server
from services.replay.failures import ReplayTimeout, SaveFailed, TablesUnusable
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.reader import ReplayReader
from services.replay.role import ReplayRole
from services.replay.served_tables import EMPTY, ServedTables
from services.replay.table_names import TEACHER_TABLE
from services.replay.v1 import replay_pb2, replay_pb2_grpc
from services.replay.writer import ReplayWriter
from services.shared.errors import UserError
from tests.support.patience import PATIENCE_SECONDS, wait_until

LAYOUT = ItemLayout(frame_shape=(2, 2), stack_size=1, n_step=1, num_actions=2, clips_rewards=False)


class Shard:
    """A role with its control, and a client of it."""

    def __init__(self, folder: Path) -> None:
        self.checkpoints = folder / "checkpoints"
        config = ReplayConfig(layout=LAYOUT, checkpoint_root=folder / "working")
        self.role = ReplayRole(config, self.checkpoints)
        self._control = control_server(self.role, host="127.0.0.1", port=0)
        self.role.start()
        self.control = f"127.0.0.1:{self._control.start()}"
        self.client = ControlClient(self.control)

    def insert(self, steps: int) -> None:
        """One episode of so many steps into the teacher's table."""
        writer = ReplayWriter(self.role.address, TEACHER_TABLE, LAYOUT, 1)
        values = np.zeros(2, np.float32)
        for step in range(steps):
            frame = np.full((2, 2), step, np.uint8)
            writer.append(0, StepRow(frame, 0, 0.0, step == steps - 1, values))
        writer.end_episode(0, None)
        assert writer.flush(timeout_seconds=PATIENCE_SECONDS)
        writer.close()

    def sample(self) -> None:
        reader = ReplayReader(self.role.address, LAYOUT, 0.99, 4)
        reader.sample(TEACHER_TABLE, timeout_seconds=PATIENCE_SECONDS)
        reader.close()

    @property
    def inserted(self) -> int:
        return table_counts(self.role.address)[TEACHER_TABLE].inserted

    @property
    def generation(self) -> str:
        return self.client.status(PATIENCE_SECONDS).generation

    def restore(self, checkpoint: int) -> None:
        assert self.client.restore(checkpoint).checkpoint == checkpoint

    def stop(self) -> None:
        self.client.close()
        self._control.stop()
        self.role.stop()


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[Shard]:
    made = Shard(tmp_path)
    yield made
    made.stop()


def test_tables_go_back_to_the_checkpoint_that_is_asked_for_at_the_same_port(shard: Shard) -> None:
    address = shard.role.address
    shard.insert(3)
    written = shard.client.save(shard.generation, checkpoint=1, keep=[])
    files = (shard.checkpoints / "00000001").glob("*.tfrecord")
    assert written == sum(file.stat().st_size for file in files) > 0
    shard.insert(4)
    shard.client.save(shard.generation, checkpoint=2, keep=[1])
    shard.insert(5)
    for checkpoint, inserted in ((2, 7), (1, 3), (2, 7)):
        shard.restore(checkpoint)
        assert shard.inserted == inserted
    assert shard.role.address == address


def test_a_second_replay_server_of_a_folder_is_refused(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.replay.role._LOCK_WAIT_SECONDS", 0.2)
    shard.insert(3)
    with pytest.raises(UserError, match="in use by another process: wait for it, or stop it"):
        Shard(shard.checkpoints.parent)
    assert shard.inserted == 3


def test_what_actors_insert_into_tables_that_were_not_sampled_stays(shard: Shard) -> None:
    shard.insert(3)
    generation = shard.generation
    shard.restore(EMPTY)
    assert (shard.generation, shard.inserted) == (generation, 3)
    # Once they were sampled, a learner may be ahead of them.
    shard.sample()
    shard.restore(EMPTY)
    assert shard.generation != generation
    assert shard.inserted == 0


def test_tables_of_a_run_whose_learner_has_lost_its_checkpoints_are_kept(
    shard: Shard,
) -> None:
    shard.insert(3)
    shard.client.save(shard.generation, checkpoint=1, keep=[])
    # The learner may have ended before its own part of its first checkpoint was written.
    shard.sample()
    shard.restore(EMPTY)
    assert shard.inserted == 0
    shard.client.save(shard.generation, checkpoint=1, keep=[])
    shard.client.save(shard.generation, checkpoint=2, keep=[1])
    with pytest.raises(TablesUnusable, match="the learner has no checkpoint"):
        shard.restore(EMPTY)
    shard.restore(2)


def test_a_restore_whose_caller_has_given_up_is_not_done(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard.insert(3)
    shard.sample()
    generation = shard.generation
    restore = shard.role.restore
    wanted: list[Callable[[], bool]] = []

    def note_and_restore(checkpoint: int, is_wanted: Callable[[], bool]) -> ServedTables:
        wanted.append(is_wanted)
        return restore(checkpoint, is_wanted)

    monkeypatch.setattr(shard.role, "restore", note_and_restore)
    with grpc.insecure_channel(shard.control) as channel:
        stub = replay_pb2_grpc.ReplayStub(channel)
        # As while a checkpoint is written.
        with shard.role._changing:
            call = stub.Restore.future(
                replay_pb2.RestoreRequest(checkpoint=EMPTY), timeout=PATIENCE_SECONDS
            )
            wait_until(lambda: bool(wanted))
            call.cancel()
            wait_until(lambda: not wanted[0]())
    # It is this one's turn after the other's.
    assert shard.client.save(generation, checkpoint=1, keep=[])
    assert (shard.generation, shard.inserted) == (generation, 3)


def test_only_what_may_be_gone_back_to_is_kept(shard: Shard) -> None:
    for checkpoint in (1, 2, 3):
        shard.client.save(shard.generation, checkpoint, keep=[checkpoint - 1])
    # A checkpoint that its learner never finished has its number used again.
    shard.insert(2)
    shard.client.save(shard.generation, checkpoint=3, keep=[2])
    assert sorted(path.name for path in shard.checkpoints.iterdir()) == ["00000002", "00000003"]
    shard.restore(3)
    assert shard.inserted == 2


def test_tables_of_another_generation_are_not_saved_as_the_callers(shard: Shard) -> None:
    before = shard.generation
    shard.insert(3)
    shard.client.save(before, checkpoint=1, keep=[])
    shard.sample()
    shard.restore(1)
    assert shard.client.save(before, checkpoint=2, keep=[1]) is None
    with pytest.raises(
        TablesUnusable, match=r"no tables of checkpoint 2 \(it has those of \[1\]\)"
    ):
        shard.restore(2)
    # The tables are served on.
    assert shard.inserted == 3


def test_tables_that_cannot_be_written_leave_those_kept_before(shard: Shard) -> None:
    shard.insert(3)
    shard.client.save(shard.generation, checkpoint=1, keep=[])
    # A file stands where the folder of the checkpoint is to be made.
    (shard.checkpoints / ".writing-00000002").write_text("")
    with pytest.raises(SaveFailed, match="tables not written"):
        shard.client.save(shard.generation, checkpoint=2, keep=[1])
    shard.sample()
    shard.restore(1)
    assert shard.inserted == 3


def test_what_reverb_could_not_write_to_its_end_does_not_fill_the_disk(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard.insert(3)
    shard.client.save(shard.generation, checkpoint=1, keep=[])
    working = shard.checkpoints.parent / "working"

    def disk_full(address: str) -> Path:
        # What Reverb leaves: data without the file that says it is whole.
        half = working / "9999-11-29T04:59:57.025266016+00:00"
        half.mkdir()
        (half / "chunks.tfrecord").write_bytes(b"half")
        raise RuntimeError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(role, "checkpoint_replay", disk_full)
        with pytest.raises(SaveFailed, match="No space left"):
            shard.client.save(shard.generation, checkpoint=2, keep=[1])
    assert list(working.iterdir()) == []
    assert shard.client.save(shard.generation, checkpoint=2, keep=[1])


def test_checkpoints_are_kept_when_the_clock_steps_back(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = shard.checkpoints.parent / "working"

    def two_hours_ago(address: str) -> Path:
        """As Reverb under a clock that was ahead before: what it wrote has a later name."""
        written = checkpoint_replay(address)
        return written.rename(written.with_name(f"9999{written.name[4:]}"))

    shard.insert(3)
    with monkeypatch.context() as patched:
        patched.setattr(role, "checkpoint_replay", two_hours_ago)
        shard.client.save(shard.generation, checkpoint=1, keep=[])
    for checkpoint in (2, 3):
        shard.insert(3)
        shard.client.save(shard.generation, checkpoint=checkpoint, keep=[checkpoint - 1])
        assert list(working.iterdir()) == []
    shard.restore(3)
    assert shard.inserted == 9


def test_a_shard_that_starts_again_serves_the_newest_tables_that_can_be_loaded(
    tmp_path: Path,
) -> None:
    first = Shard(tmp_path)
    first.insert(3)
    first.client.save(first.generation, checkpoint=1, keep=[])
    first.insert(4)
    first.client.save(first.generation, checkpoint=2, keep=[1])
    first.stop()
    # Cut off before its first record: to Reverb a file without records, and no damage.
    os.truncate(tmp_path / "checkpoints" / "00000002" / "tables.tfrecord", 10)
    second = Shard(tmp_path)
    try:
        assert second.inserted == 3
        assert second.client.status(PATIENCE_SECONDS).checkpoint == 1
        with pytest.raises(TablesUnusable, match="changed since it was written"):
            second.restore(2)
        second.restore(1)
        assert second.inserted == 3
    finally:
        second.stop()


def test_health_says_when_tables_are_served(shard: Shard) -> None:
    with grpc.insecure_channel(shard.control) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_port_that_is_in_use_is_no_damage_to_the_tables(shard: Shard) -> None:
    shard.insert(3)
    shard.client.save(shard.generation, checkpoint=1, keep=[])
    shard.sample()
    port = int(shard.role.address.rpartition(":")[2])
    shard.role._end()
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("0.0.0.0", port))
        thief.listen()
        with pytest.raises(ReplayTimeout, match="in use"):
            shard.client.restore(1)
    shard.restore(1)
    assert shard.inserted == 3
