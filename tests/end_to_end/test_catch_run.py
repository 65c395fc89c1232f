"""The main job in small: a teacher of Catch is reincarnated, from the command to the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rrl_agents.types import Stage
from services.learner.evaluation_records import read_records

if TYPE_CHECKING:
    from tests.end_to_end.conftest import CatchRun

QUICK = (
    "--num-actors=1",
    "--envs-per-actor=4",
    "--replay-capacity=20000",
    "--publish-period-updates=20",
    "--method.q-learning.min-replay-size=200",
    "--method.q-learning.target-update-steps=200",
    "--method.q-learning.epsilon-decay-steps=200",
)


@pytest.mark.timeout(480)
def test_a_student_learns_from_its_teacher_until_it_plays_as_well(
    catch_run: Callable[..., CatchRun], catch_teacher: Path
) -> None:
    run = catch_run(
        "qdagger",
        *QUICK,
        f"--teacher.checkpoint={catch_teacher}",
        "--teacher-steps=1500",
        "--online-steps=6200",
        "--evaluation.final-episodes=50",
        "--offline-evaluation-period=500",
        "--online-evaluation-period=500",
        "--method.offline-updates=1000",
        "--method.weaning.taught-learning-rate=0.003",
        "--method.weaning.weaned-learning-rate=0.0003",
        "--method.weaning.wean-steps=4000",
    )
    run.start()
    assert run.wait() == 0, run.err
    run.wait_until_alone()

    report = run.folder / "report"
    summary = json.loads((report / "summary.json").read_text())
    # The teacher never misses: +1, the random policy gets -0.6, and 0.8 of the way is 0.68.
    assert summary["teacher_return"] == 1.0
    assert summary["random_return"] == pytest.approx(-0.6)
    assert summary["teacher_normalised_score"] >= 0.8
    assert summary["student_return"] >= 0.68
    assert summary["finished"] is True
    assert summary["offline_updates"] == 1000
    # One update per 4 decisions, once 200 are there.
    assert summary["online_updates"] == (6200 - 200) // 4
    # Weaned: the students' decisions have passed 4,000.
    assert summary["weaning_weight"] == 0.0

    assert (report / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert (report / "student.gif").read_bytes().startswith(b"GIF8")
    assert "qdagger" in (report / "README.md").read_text()
    assert list((run.folder / "metrics").glob("**/events.out.tfevents.*"))
    config = json.loads((run.folder / "config.json").read_text())
    assert (config["method"], config["environment"]["name"]) == ("qdagger", "catch")

    records = read_records(run.folder / "metrics" / "evaluations.jsonl")
    assert records[-1].final
    assert {record.player for record in records} == {"student"}
    # The protocol's own numbers of episodes.
    assert len(records[-1].episode_returns) == 50
    assert {len(record.episode_returns) for record in records[:-1]} <= {10}
    assert run.commit is not None
    assert run.commit.record.progress.stage is Stage.FINISHED

    assert run.roles == {"teacher", "replay", "learner", "evaluator", "actor"}
    lines = run.out.splitlines()
    phases = ["collect", "offline", "online", "final evaluation", "finished"]
    # The display looks once a second, and a phase of Catch may be over in less.
    shown = [phase for phase in phases if any(line.startswith(phase) for line in lines)]
    assert shown[-1] == "finished"
    assert {"offline", "online"} & set(shown)
    assert lines[0] == f"starting {run.folder}"
    assert any(line.split() == ["report:", str(report / "README.md")] for line in lines[-6:])
    assert run.err == ""


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_tabula_rasa_starts_no_teacher(
    catch_run: Callable[..., CatchRun], catch_teacher: Path
) -> None:
    run = catch_run(
        "tabula_rasa", *QUICK, f"--teacher.checkpoint={catch_teacher}", "--online-steps=600"
    )
    run.start()
    assert run.wait() == 0, run.err
    run.wait_until_alone()
    assert run.roles == {"replay", "learner", "evaluator", "actor"}
    summary = json.loads((run.folder / "report" / "summary.json").read_text())
    assert (summary["offline_updates"], summary["teacher_steps"]) == (0, 0)
    assert summary["online_updates"] == (600 - 200) // 4
