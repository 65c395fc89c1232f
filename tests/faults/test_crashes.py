"""A checkpoint is whole or absent, whatever the step at which the process or the power goes."""

from __future__ import annotations

import itertools
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rrl_agents.durable_files import make_folders, write_whole
from rrl_agents.types import Progress, Stage
from services.learner.checkpoint_records import RunRecord, newest_checkpoint
from services.learner.checkpointing import next_number, restore_state, write_checkpoint
from services.replay.checkpoint import check_checkpoint
from services.replay.config import ReplayConfig
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.role import ReplayRole
from services.replay.shard_checkpoints import ShardCheckpoints
from services.replay.table_names import TEACHER_TABLE
from services.replay.writer import ReplayWriter
from tests.faults.crashes import recorded
from tests.support.patience import PATIENCE_SECONDS

LAYOUT = ItemLayout(frame_shape=(2, 2), stack_size=1, n_step=1, num_actions=2, clips_rewards=False)


@pytest.fixture
def role(tmp_path: Path) -> Iterator[ReplayRole]:
    shard = tmp_path / "run" / "replay"
    config = ReplayConfig(layout=LAYOUT, checkpoint_root=tmp_path / "working")
    role = ReplayRole(config, shard / "checkpoints")
    role.start()
    yield role
    role.stop()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    # Each damaged checkpoint is passed over with a warning.
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def fill(role: ReplayRole, steps: int) -> None:
    writer = ReplayWriter(role.address, TEACHER_TABLE, LAYOUT, 1)
    for step in range(steps):
        frame = np.full((2, 2), step, np.uint8)
        writer.append(0, StepRow(frame, 0, 0.0, step == steps - 1, np.zeros(2, np.float32)))
    writer.end_episode(0, None)
    assert writer.flush(timeout_seconds=PATIENCE_SECONDS)
    writer.close()


def weights(number: int) -> dict[str, np.ndarray]:
    return {"kernel": np.full((3, 2), number, np.float32), "bias": np.arange(2.0) + number}


def record(number: int) -> RunRecord:
    progress = Progress(
        random_return=0.0, teacher_return=1.0, stage=Stage.ONLINE, online_updates=number
    )
    return RunRecord(progress=progress, seconds=float(number))


def checkpoint(run: Path, number: int) -> None:
    """The learner's part."""
    write_checkpoint(run, weights(number), record(number), number, keep=[number - 1])


def checkpoint_both(role: ReplayRole, run: Path, number: int) -> None:
    """Replay's part, then the learner's, as `Learner.save_checkpoint` does it."""
    served = role.served
    assert served is not None
    role.save(served.generation, number, keep=[number - 1])
    checkpoint(run, number)


def newest(run: Path) -> int:
    """Number of the newest checkpoint, seen to be whole: state, and tables where there are any."""
    found = newest_checkpoint(run)
    if found is None:
        return 0
    assert found.record == record(found.number)
    state = restore_state(found, weights(0))
    for name, values in weights(found.number).items():
        np.testing.assert_array_equal(state[name], values)
    if (shard := run / "replay").exists():
        check_checkpoint(ShardCheckpoints(shard / "checkpoints").tables(found.number))
    return found.number


def test_a_run_has_its_last_checkpoint_or_the_new_one_at_every_step(
    tmp_path: Path, role: ReplayRole
) -> None:
    run = tmp_path / "run"
    fill(role, steps=3)
    for number in (1, 2):
        checkpoint_both(role, run, number)
    fill(role, steps=4)
    with recorded(run, tmp_path / "left") as crashes:
        checkpoint_both(role, run, 3)
    # Kept tables and state, each with a temporary folder, a rename, flushes, and an older one gone.
    assert crashes.steps > 20
    for left in (crashes.kills, crashes.power_losses):
        numbers = [newest(folder) for folder in left]
        assert set(numbers) == {2, 3}
        # A later step is never behind an earlier one.
        assert [number for number, _ in itertools.groupby(numbers)] == [2, 3]
    assert [newest(folder) for folder in crashes.after] == [3, 3]


def test_what_a_crash_left_is_no_hindrance_to_the_next_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for number in (1, 2):
        checkpoint(run, number)
    with recorded(run, tmp_path / "left") as crashes:
        checkpoint(run, 3)
    for folder in {*crashes.kills, *crashes.power_losses}:
        before = newest(folder)
        after = next_number(folder, after=before)
        checkpoint(folder, after)
        assert newest(folder) == after > before
        assert not list((folder / "checkpoints").glob(".*"))


def test_the_first_checkpoint_outlives_a_power_loss_with_the_folders_that_it_made(
    tmp_path: Path,
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with recorded(place, tmp_path / "left") as crashes:
        checkpoint(place / "runs" / "mine", 1)
    assert {newest(folder / "runs" / "mine") for folder in crashes.kills} == {0, 1}
    assert [newest(folder / "runs" / "mine") for folder in crashes.after] == [1, 1]


def written_at_once(file: Path) -> None:
    file.write_text("whole")


def written_without_flush(file: Path) -> None:
    file.with_name("temporary").write_text("whole")
    file.with_name("temporary").rename(file)


@pytest.mark.parametrize("write", [written_at_once, written_without_flush])
def test_the_harness_sees_what_is_lost(tmp_path: Path, write: Callable[[Path], None]) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with recorded(place, tmp_path / "left") as crashes:
        write(place / "file")
    losses = [folder / "file" for folder in crashes.after]
    assert [file.read_text() if file.exists() else None for file in losses] == ["", None]


def replaced(file: Path) -> None:
    write_whole(file, "whole")


def in_new_folders(file: Path) -> None:
    make_folders(file.parent / "a" / "b")
    write_whole(file.parent / "a" / "b" / "file", "whole")


@pytest.mark.parametrize(("write", "name"), [(replaced, "file"), (in_new_folders, "a/b/file")])
@pytest.mark.parametrize("before", [None, "old"])
def test_a_file_is_whole_or_as_before_at_every_step(
    tmp_path: Path, write: Callable[[Path], None], name: str, before: str | None
) -> None:
    place = tmp_path / "place"
    (place / name).parent.mkdir(parents=True)
    if before is None and "/" in name:
        shutil.rmtree(place / "a")
    elif before is not None:
        (place / name).write_text(before)
    with recorded(place, tmp_path / "left") as crashes:
        write(place / "file")
    found = [folder / name for folder in (*crashes.kills, *crashes.power_losses)]
    contents = {file.read_text() if file.exists() else None for file in found}
    assert contents == {before, "whole"}
    assert [(folder / name).read_text() for folder in crashes.after] == ["whole", "whole"]
