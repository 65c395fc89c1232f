"""A run without a teacher, to which the others are compared."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import CatchRun


SMALL = (
    "--online-steps=600",
    "--num-actors=1",
    "--envs-per-actor=4",
    "--replay-capacity=20000",
    "--publish-period-updates=20",
    "--method.q-learning.min-replay-size=200",
    "--method.q-learning.target-update-steps=200",
    "--method.q-learning.epsilon-decay-steps=200",
)

THREADED_ENVIRONMENT = """
import os, threading, gymnasium

print(f"imported by {os.getpid()}", flush=True)
threading.Thread(target=threading.Event().wait, daemon=True).start()

def make():
    return gymnasium.make("CartPole-v1")
"""


@pytest.mark.slow
def test_tabula_rasa_starts_no_teacher(
    catch_run: Callable[..., CatchRun], catch_teacher: Path
) -> None:
    run = catch_run(
        "tabula_rasa",
        f"--teacher.checkpoint={catch_teacher}",
        *SMALL,
    )
    run.start()
    assert run.wait() == 0, run.err
    run.wait_until_alone()
    assert run.roles == {"replay", "learner", "evaluator", "actor"}
    summary = json.loads((run.folder / "report" / "summary.json").read_text())
    done = summary["last_evaluation"]
    assert (done["offline_updates"], done["teacher_steps"]) == (0, 0)
    assert done["online_updates"] == (600 - 200) // 4


@pytest.mark.slow
def test_roles_are_new_processes_where_an_environment_has_threads(
    catch_run: Callable[..., CatchRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "threaded.py").write_text(THREADED_ENVIRONMENT)
    monkeypatch.chdir(tmp_path)
    run = catch_run(
        "tabula_rasa",
        "--environment.name=gymnasium",
        "--environment.game=threaded:make",
        "--environment.random-return=22",
        "--teacher.checkpoint=None",
        "--teacher.mean-return=200",
        *SMALL,
    )
    run.start()
    assert run.wait() == 0, run.err
    run.wait_until_alone()
    # A copy of the launcher would have had the module already, and not its thread.
    importers = {role: re.findall(r"imported by (\d+)", run.log(role)) for role in run.roles}
    assert len(importers["actor"]) == len(importers["evaluator"]) == 1
    assert importers["actor"] != importers["evaluator"]
