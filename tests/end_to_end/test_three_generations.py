"""A teacher, its student, and that student's own student: what each card says against its run."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from rrl_agents.checkpoints.teacher_card import Compute, TeacherCard
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory
from services.cli.experiment_flags import parse
from services.cli.lineage import lineage
from services.cli.teacher_export import export
from services.cli.train_command import Train
from services.launcher.one_process import run_in_one_process
from services.launcher.resolution import resolve
from services.learner.checkpoint_records import RunCheckpoint, newest_checkpoint
from services.learner.evaluation_records import read_records
from tests.end_to_end.conftest import RRL

TEACHER_STEPS, OFFLINE_UPDATES, ONLINE_STEPS, MIN_REPLAY_SIZE = 300, 200, 300, 200
TINY = (
    *("--environment.name", "catch", "--network.name", "mlp", "--network.features", "64"),
    "--num-actors=1",
    "--envs-per-actor=4",
    "--one-process",
    "--replay-capacity=2000",
    "--publish-period-updates=20",
    f"--method.q-learning.min-replay-size={MIN_REPLAY_SIZE}",
    "--method.q-learning.target-update-steps=200",
    f"--teacher-steps={TEACHER_STEPS}",
    f"--online-steps={ONLINE_STEPS}",
    f"--method.offline-updates={OFFLINE_UPDATES}",
    "--method.weaning.taught-learning-rate=0.003",
    "--evaluation.final-episodes=20",
    # A student that learned next to nothing may return less than chance, and would be refused as a
    # teacher; how well it plays is not what is tested.
    "--teacher.mean-return=1.0",
)


def rrl(*arguments: str) -> str:
    done = subprocess.run([str(RRL), *arguments], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


def train(run: Path, *flags: str, monkeypatch: pytest.MonkeyPatch) -> RunCheckpoint:
    """Run the command to its end, all its roles in this process; its last checkpoint."""
    command = ["rrl", "train", "qdagger", "--run", str(run), *TINY, *flags]
    monkeypatch.setattr(sys, "argv", command)
    experiment = resolve(parse(Train, command[2:], "rrl train").experiment)
    assert run_in_one_process(experiment, run, threading.Event())
    checkpoint = newest_checkpoint(run)
    assert checkpoint is not None
    return checkpoint


def check_card(
    card: TeacherCard, run: Path, checkpoint: RunCheckpoint, teacher: TeacherCard
) -> None:
    """What a card says of its own generation is what the run counted."""
    progress = checkpoint.record.progress
    # One frame per step; a vector of environments may play a few steps more than it was asked for.
    assert progress.teacher_steps >= TEACHER_STEPS
    assert progress.actor_steps >= ONLINE_STEPS
    # One update per 4 decisions, once there are enough of them.
    assert progress.online_updates == (ONLINE_STEPS - MIN_REPLAY_SIZE) // 4
    assert card.compute is not None
    assert card.compute == Compute(
        environment_frames=progress.actor_steps,
        teacher_frames=progress.teacher_steps,
        gradient_updates=OFFLINE_UPDATES + progress.online_updates,
        hardware_seconds=checkpoint.record.seconds,
        hardware=card.compute.hardware,
    )
    assert " cores of " in card.compute.hardware
    assert f"rrl train qdagger --run {run}" in card.command
    last = read_records(run / "metrics" / "evaluations.jsonl")[-1]
    assert last.final
    assert card.score is not None
    assert card.score.returns == last.episode_returns
    assert card.score.episodes == 20
    (parent,) = card.parents
    assert parent.relations == ("teacher",)
    assert parent.card == teacher


def totals(line: dict[str, Any]) -> dict[str, tuple[float, bool]]:
    return {
        name: (total["known"], total["is_lower_bound"]) for name, total in line["total"].items()
    }


@pytest.mark.slow
def test_a_student_teaches_the_next_one_and_the_line_adds_up(
    catch_teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RRL_CACHE", str(tmp_path / "cache"))
    by_hand = load_teacher_directory(catch_teacher).card

    first_run, second_run = tmp_path / "first", tmp_path / "second"
    begun = train(first_run, f"--teacher.checkpoint={catch_teacher}", monkeypatch=monkeypatch)
    # The command once as users run it; below its function, which starts in no time.
    printed = rrl("teacher", "export", str(first_run), "--name", "first", "--onnx")
    exported = tmp_path / "cache" / "exported" / "Catch" / "first"
    assert str(exported) in printed
    assert sorted(path.name for path in exported.iterdir()) == [
        "README.md",
        "card.json",
        "model.onnx",
        "params.safetensors",
    ]
    first = load_teacher_directory(exported).card
    check_card(first, first_run, begun, by_hand)

    ended = train(
        second_run, "--teacher.checkpoint=Catch/first", "--seed=1", monkeypatch=monkeypatch
    )
    export(second_run, name="second")
    capsys.readouterr()
    second = load_teacher_directory(tmp_path / "cache" / "exported" / "Catch" / "second").card
    check_card(second, second_run, ended, first)

    lineage("Catch/second", as_json=True)
    line = json.loads(capsys.readouterr().out)
    assert [(one["generation"], one["name"]) for one in line["generations"]] == [
        (1, "catch_by_hand"),
        (2, "first"),
        (3, "second"),
    ]
    one, other = begun.record, ended.record
    # What the teacher by hand cost is unknown: each total is a bound.
    assert totals(line) == {
        "environment_frames": (one.progress.actor_steps + other.progress.actor_steps, True),
        "teacher_frames": (one.progress.teacher_steps + other.progress.teacher_steps, True),
        # Twice 200 offline and 25 online.
        "gradient_updates": (450, True),
        "hardware_seconds": (pytest.approx(one.seconds + other.seconds), True),
    }
    lineage(str(second_run))
    shown = capsys.readouterr().out
    assert "at least 450" in shown
    assert "teacher: first" in shown and "teacher: catch_by_hand" in shown
