"""A run without a teacher, to which the others are compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import CatchRun


@pytest.mark.slow
def test_tabula_rasa_starts_no_teacher(
    catch_run: Callable[..., CatchRun], catch_teacher: Path
) -> None:
    run = catch_run(
        "tabula_rasa",
        f"--teacher.checkpoint={catch_teacher}",
        "--online-steps=600",
        "--num-actors=1",
        "--envs-per-actor=4",
        "--replay-capacity=20000",
        "--publish-period-updates=20",
        "--method.q-learning.min-replay-size=200",
        "--method.q-learning.target-update-steps=200",
        "--method.q-learning.epsilon-decay-steps=200",
    )
    run.start()
    assert run.wait() == 0, run.err
    run.wait_until_alone()
    assert run.roles == {"replay", "learner", "evaluator", "actor"}
    summary = json.loads((run.folder / "report" / "summary.json").read_text())
    done = summary["last_evaluation"]
    assert (done["offline_updates"], done["teacher_steps"]) == (0, 0)
    assert done["online_updates"] == (600 - 200) // 4
