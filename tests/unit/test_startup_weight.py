"""What a command or a role's process imports before it works: what it does not need is not there.

Each case runs in an interpreter of its own. TensorFlow comes with Reverb, and costs 14 s of CPU.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

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


def imported(program: str) -> set[str]:
    """The packages that are there after a program."""
    tail = "import sys; print('\\n@', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{tail}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("@")[2].split())


def test_the_list_of_commands_needs_the_standard_library() -> None:
    program = COMMANDS.format(commands=["--help"])
    assert not imported(program) & (HEAVY | {"numpy", "grpc", "tyro", "rich"})


def test_commands_that_compute_nothing_import_nothing_to_compute_with() -> None:
    commands = [
        *("list methods", "list students", "list environments", "list presets"),
        *("train --help", "train qdagger --help", "actor qdagger --help", "learner --help"),
        *("status --help", "status /nowhere", "health --help", "teacher top --help"),
        *("report --help", "bench run --help", "bench report --help"),
        *("teacher list", "teacher query --help", "teacher inspect --help"),
        *("teacher import --help", "lineage pong_dqn"),
    ]
    assert not imported(COMMANDS.format(commands=commands)) & HEAVY


@pytest.mark.parametrize(
    ("modules", "allowed"),
    [
        # What is played is imported when it is played.
        ("services.evaluator.loop, services.teacher.server", {"jax", "flax"}),
        ("services.cli.train, services.launcher.launch", {"jax"}),
        ("services.launcher.program", {"jax", "flax", "launchpad"}),
        ("services.learner.client", set()),
    ],
)
def test_roles_without_replay_start_without_tensorflow(modules: str, allowed: set[str]) -> None:
    assert imported(f"import {modules}") & HEAVY <= allowed


def test_a_run_is_resolved_without_tensorflow() -> None:
    program = """
from services.launcher.presets import PRESETS
from services.launcher.resolution import resolve
resolve(PRESETS["qdagger"]["demo"])
"""
    # The environment tells its own spec; the bundled teacher is a directory of ours.
    assert imported(program) & HEAVY <= {"jax", "flax", "gymnasium", "ale_py"}


def test_reverb_comes_without_keras_which_is_there_when_it_is_asked_for() -> None:
    reverb = "import services.replay.connection"
    assert not imported(reverb) & {"keras", "pandas", "matplotlib"}
    assert "keras" in imported(f"{reverb}\nimport tensorflow as tf\ntf.keras.layers.Dense")
