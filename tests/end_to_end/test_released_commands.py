"""The two commands of the released code's README, with only the module's name changed, and shorter.

Each starts every role as a process of its own, from a Dopamine agent's checkpoint and replay data.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli import reincarnating_train

ROOT = Path(__file__).parents[2]
AGENT = ROOT / "tests/fixtures/dopamine4.0.6_flax0.6.11_jaxarray/1"

# What the README's commands take days for is over in seconds of work.
SHORTER = (
    "Runner.num_iterations = 1",
    "Runner.training_steps = 120",
    "Runner.max_steps_per_episode = 60",
)
DEBUGGING = (
    "Runner.evaluation_steps=10",
    "RunnerWithTeacher.num_pretraining_iterations=2",
    "RunnerWithTeacher.num_pretraining_steps=10",
    "JaxDQNAgent.min_replay_history = 64",
)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    directory = tmp_path / "Pong"
    directory.mkdir()
    (directory / "1").symlink_to(AGENT.resolve(), target_is_directory=True)
    return directory / "1"


def run_command(teacher: Path, base_dir: Path, *more: str) -> str:
    command = [
        *(sys.executable, "-um", "services.cli.reincarnating_train"),
        *("--agent", "qdagger_rainbow"),
        *("--gin_files", "reincarnating_rl/configs/qdagger_rainbow.gin"),
        *("--base_dir", str(base_dir)),
        *("--teacher_checkpoint_dir", str(teacher)),
        *("--teacher_checkpoint_number", "1"),
        *("--run_number=1", "--atari_roms_path=/tmp/atari_roms", "--alsologtostderr"),
        *more,
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=1500, check=False
    )
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    return done.stdout


def check(base_dir: Path, *, offline_updates: int) -> None:
    config = json.loads((base_dir / "config.json").read_text())
    assert config["method"] == "qdagger"
    assert config["network"]["head"] == "categorical"
    assert config["student"]["priority_exponent"] == 0.5
    assert config["environment"]["game"] == "Pong"
    assert config["teacher"]["checkpoint"].endswith("/Pong/1/checkpoints/ckpt.1")
    assert config["teacher"]["data_number"] == 1
    assert config["seed"] == 1
    assert config["budgets"]["offline_updates"] == offline_updates
    assert config["budgets"]["online_steps"] == 120
    # 120 decisions, of which 64 fill replay, 4 to an update.
    assert config["budgets"]["online_updates"] == (120 - 64) // 4
    assert json.loads((base_dir / "report" / "summary.json").read_text())["student_episodes"] == 1


@pytest.mark.slow
def test_the_first_command_trains_to_its_report(teacher: Path, tmp_path: Path) -> None:
    base_dir = tmp_path / "qdagger_rainbow"
    words = [f"--gin_bindings={binding}" for binding in (*SHORTER, *DEBUGGING[:1], *DEBUGGING[3:])]
    words += ["--gin_bindings", "RunnerWithTeacher.num_pretraining_iterations=1"]
    words += ["--gin_bindings", "RunnerWithTeacher.num_pretraining_steps=12"]
    said = run_command(teacher, base_dir, *words)
    assert "note: reincarnating_rl/configs/qdagger_rainbow.gin is not there" in said
    check(base_dir, offline_updates=12)


@pytest.mark.slow
def test_the_second_command_trains_as_its_bindings_say(teacher: Path, tmp_path: Path) -> None:
    base_dir = tmp_path / "qdagger_rainbow"
    words = [f"--gin_bindings={binding}" for binding in (*DEBUGGING, *SHORTER)]
    run_command(teacher, base_dir, *words)
    check(base_dir, offline_updates=2 * 10)


def test_bad_input_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["--base_dir", "x", "--teacher_checkpoint_dir", str(tmp_path)]
    words += ["--gin_bindings", "JaxDQNAgent.gama = '\x1b[2J'"]
    monkeypatch.setattr(sys, "argv", ["reincarnating_train", *words])
    with pytest.raises(SystemExit) as ended:
        reincarnating_train.main()
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(
        "rrl gin: --gin_bindings: rrl has no setting for JaxDQNAgent.gama; did you mean "
    )
    assert "JaxDQNAgent.gamma" in shown.err
    assert "\x1b" not in shown.err
