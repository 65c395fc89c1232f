"""What a command or a role's process imports before it works: what it does not need is not there.

Each case runs in an interpreter of its own. TensorFlow comes with Reverb, and costs 14 s of CPU.
"""

from __future__ import annotations

import subprocess
import sys

from tests.support.patience import PATIENCE_SECONDS

# fmt: off
HEAVY = {
    "jax", "flax", "optax", "orbax", "chex", "tensorflow", "reverb", "launchpad", "dopamine", "gin",
    "pandas", "scipy", "matplotlib", "rliable", "onnxruntime", "gymnasium", "ale_py", "h5py",
}
# fmt: on

COMMANDS = """
from services.cli.main import run
for words in {commands}:
    try:
        run(words.split())
    except SystemExit:
        pass
"""


def imported(*programs: str) -> list[set[str]]:
    """The packages that are there after each of some programs, one after the other."""
    look = "import sys; print('\\n@', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(f"{program}\n{look}" for program in programs)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return [{*line[1:].split()} for line in done.stdout.splitlines() if line.startswith("@")]


def test_the_list_of_commands_needs_the_standard_library() -> None:
    (found,) = imported(COMMANDS.format(commands=["--help"]))
    assert not found & (HEAVY | {"numpy", "grpc", "tyro", "rich"})


def test_commands_that_compute_nothing_import_nothing_to_compute_with() -> None:
    commands = [
        *("list methods", "list students", "list environments", "list presets"),
        *("train --help", "train qdagger --help", "actor qdagger --help", "learner --help"),
        *("status --help", "status /nowhere", "health --help", "teacher top --help"),
        *("report --help", "bench run --help", "bench report --help"),
        *("teacher list", "teacher query --help", "teacher inspect --help"),
        *("teacher import --help", "lineage pong_dqn"),
    ]
    (found,) = imported(COMMANDS.format(commands=commands))
    assert not found & HEAVY


RESOLUTION = """
from services.launcher.presets import PRESETS
from services.launcher.resolution import resolve
resolve(PRESETS["qdagger"]["demo"])
"""

# Each may bring what is named here beside what those before it may.
ROLES: list[tuple[str, set[str]]] = [
    ("import services.learner.client", set()),
    ("import services.cli.train, services.launcher.launch", {"jax"}),
    ("import services.teacher.server", {"flax"}),
    # What is played is imported when it is played.
    ("import services.evaluator.loop", set()),
    ("import services.launcher.program", {"launchpad"}),
    # The environment tells its own spec; the bundled teacher is a directory of ours.
    (RESOLUTION, {"ale_py", "gymnasium"}),
    # A run in one process has its replay there: no Reverb, and no TensorFlow with it.
    ("import services.bench.worker", {"orbax", "optax", "chex"}),
]


def test_roles_without_replay_start_without_tensorflow() -> None:
    allowed: set[str] = set()
    programs = [program for program, _ in ROLES]
    for (program, more), found in zip(ROLES, imported(*programs), strict=True):
        allowed |= more
        assert found & HEAVY <= allowed, program


REVERB_ALONE = """
import sys, tempfile
from pathlib import Path
import numpy as np
from services.replay.config import ReplayConfig
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.reverb_library import reverb
from services.replay.sample_stream import SampleStream
from services.replay.server import build_replay
from services.replay.writer import ReplayWriter
layout = ItemLayout(frame_shape=(2,), stack_size=1, n_step=1, num_actions=1, clips_rewards=True)
with tempfile.TemporaryDirectory() as folder:
    server = build_replay(ReplayConfig(layout=layout, checkpoint_root=Path(folder)))
    server.start()
    writer = ReplayWriter(server.address, "teacher", layout, 1)
    for _ in range(3):
        writer.append(0, StepRow(np.zeros(2, np.uint8), 0, 0.0, False, None))
    assert writer.flush(60)
    stream = SampleStream(server.address, "teacher", layout, block_rows=4)
    assert stream.open() and stream.next_block().count == 4
    stream.cancel()
    writer.close()
    server.stop()
assert "tensorflow.python.ops.math_ops" not in sys.modules
# What is imported by these names later is the whole.
assert {"tensorflow", "reverb"}.isdisjoint(sys.modules)
"""
WHOLE_TENSORFLOW = """
import tensorflow as tf
assert float(tf.constant(1.0) + 2.0) == 3.0
import reverb as whole
assert reverb.Client is whole.Client
assert whole.TrajectoryDataset
"""


def test_batches_come_from_reverb_without_tensorflow_whose_whole_can_be_imported_later() -> None:
    alone, _ = imported(REVERB_ALONE, WHOLE_TENSORFLOW)
    assert not alone & {"keras", "pandas", "matplotlib"}


OTHER_VERSION = """
import sys

class FailsOnce:
    def find_spec(self, name, path=None, target=None):
        if name == "reverb.item_selectors":
            sys.meta_path.remove(self)
            raise ImportError("as of another version")

sys.meta_path.insert(0, FailsOnce())
from services.replay.reverb_library import reverb
assert not any(isinstance(finder, FailsOnce) for finder in sys.meta_path)
assert {"tensorflow", "reverb"} <= sys.modules.keys()
"""


def test_reverb_whose_parts_cannot_be_imported_is_imported_whole() -> None:
    imported(f"{OTHER_VERSION}{WHOLE_TENSORFLOW}")
