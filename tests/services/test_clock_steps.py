"""The wall clock is set back by two hours: what is saved afterwards is saved, and read back."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from services.replay.control_client import ControlClient
from tests.support.clock import WallClock
from tests.support.patience import PATIENCE_SECONDS

# Serves one shard; says its ports, then inserts an episode of as many steps as each line says.
SHARD = """
import sys
from pathlib import Path
import numpy as np
from services.replay.config import ReplayConfig
from services.replay.connection import table_counts
from services.replay.control_server import control_server
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.role import ReplayRole
from services.replay.table_names import TEACHER_TABLE
from services.replay.writer import ReplayWriter

folder = Path(sys.argv[1])
layout = ItemLayout(frame_shape=(2, 2), stack_size=1, n_step=1, num_actions=2, clips_rewards=False)
config = ReplayConfig(layout=layout, checkpoint_root=folder / "working")
role = ReplayRole(config, folder / "checkpoints")
control = control_server(role, host="127.0.0.1", port=0)
role.start()
print(control.start(), flush=True)
for line in sys.stdin:
    writer = ReplayWriter(role.address, TEACHER_TABLE, layout, 1)
    steps = int(line)
    for step in range(steps):
        row = StepRow(np.full((2, 2), step, np.uint8), 0, 0.0, step == steps - 1, np.zeros(2, "f4"))
        writer.append(0, row)
    writer.end_episode(0, None)
    assert writer.flush(timeout_seconds=60.0)
    writer.close()
    print(table_counts(role.address)[TEACHER_TABLE].inserted, flush=True)
control.stop()
role.stop()
"""


def shard(folder: Path, clock: WallClock) -> subprocess.Popen[str]:
    """The process of `SHARD`, under a clock."""
    return subprocess.Popen(
        [sys.executable, "-c", SHARD, str(folder)],
        env=clock.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("back", ["-2h", pytest.param("-3000d", marks=pytest.mark.slow)])
def test_replay_keeps_what_it_writes_after_the_clock_was_set_back(
    tmp_path: Path, back: str
) -> None:
    clock = WallClock(tmp_path / "clock")
    with shard(tmp_path, clock) as process:
        assert process.stdin is not None and process.stdout is not None

        def inserted(steps: int) -> int:
            assert process.stdin is not None and process.stdout is not None
            print(steps, file=process.stdin, flush=True)
            return int(process.stdout.readline())

        address = f"127.0.0.1:{int(process.stdout.readline())}"
        with contextlib.closing(ControlClient(address)) as client:
            assert inserted(3) == 3
            generation = client.status(PATIENCE_SECONDS).generation
            client.save(generation, checkpoint=1, keep=[])
            clock.turn(back)
            for checkpoint, steps in ((2, 7), (3, 12)):
                assert inserted(4 if checkpoint == 2 else 5) == steps
                client.save(generation, checkpoint=checkpoint, keep=[checkpoint - 1])
                kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
                assert kept == [f"{checkpoint - 1:08d}", f"{checkpoint:08d}"]
        process.stdin.close()
        assert process.wait(PATIENCE_SECONDS) == 0
    # Started again, still under that clock, it has all.
    with shard(tmp_path, clock) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        print(1, file=process.stdin, flush=True)
        assert int(process.stdout.readline()) == 13
        process.stdin.close()
