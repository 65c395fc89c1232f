"""A teacher's recorded play instead of its playing: from a Dopamine replay buffer to the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from dopamine.replay_memory.circular_replay_buffer import OutOfGraphReplayBuffer

from rrl_agents.environments import catch
from rrl_agents.environments.registry import EnvironmentConfig, make_environment

if TYPE_CHECKING:
    from tests.end_to_end.conftest import CatchRun

N_STEP = 3


def record_play(folder: Path, rows: int) -> int:
    """Games of Catch played at random, as Dopamine saves them.

    The buffer has wrapped around: its oldest game has lost its beginning.

    Returns:
        How many transitions Dopamine finds in it.
    """
    environment = make_environment(EnvironmentConfig(name="catch"), 1)
    frame = environment.reset(0)[0, :, :, -1]
    random = np.random.default_rng(0)
    buffer = OutOfGraphReplayBuffer(
        observation_shape=frame.shape,
        stack_size=1,
        replay_capacity=rows,
        batch_size=1,
        update_horizon=N_STEP,
    )
    while buffer.add_count < 1.5 * rows:
        action = random.integers(catch.NUM_ACTIONS)
        step = environment.step(np.asarray([action]))
        if not step.episode_start[0]:
            buffer.add(frame, int(action), float(step.reward[0]), int(step.terminated[0]))
        frame = step.observation[0, :, :, -1]
    folder.mkdir()
    buffer.save(str(folder), 3)
    return sum(buffer.is_valid_transition(index) for index in range(rows))


def flags(teacher: Path, data: Path) -> tuple[str, ...]:
    return (
        f"--teacher.checkpoint={teacher}",
        f"--teacher.data={data}",
        "--online-steps=600",
        "--num-actors=1",
        "--envs-per-actor=4",
        "--replay-capacity=50000",
        "--publish-period-updates=20",
        "--checkpoint-period-seconds=1",
        f"--method.q-learning.n-step={N_STEP}",
        "--method.q-learning.min-replay-size=200",
        "--method.offline-updates=300",
        "--method.weaning.taught-learning-rate=0.003",
    )


@pytest.mark.slow
def test_a_student_learns_from_recorded_play(
    catch_run: Callable[..., CatchRun], catch_teacher: Path, tmp_path: Path
) -> None:
    data = tmp_path / "recorded"
    transitions = record_play(data, rows=1000)
    run = catch_run("qdagger", *flags(catch_teacher, data))
    run.start()
    assert run.wait() == 0, run.err
    run.wait_until_alone()
    assert run.roles == {"teacher", "replay", "importer", "learner", "evaluator", "actor"}
    # The importer ended long before the run did, and no actor played for the teacher's table.
    assert f"the teacher's table holds {transitions} transitions" in run.log("importer")
    config = json.loads((run.folder / "config.json").read_text())
    assert config["budgets"]["teacher_steps"] == transitions
    assert config["teacher"]["data"] == str(data)
    assert len(config["teacher"]["data_fingerprint"]) == 64
    summary = json.loads((run.folder / "report" / "summary.json").read_text())
    assert summary["finished"] is True
    assert summary["last_evaluation"]["teacher_steps"] == transitions
    assert summary["last_evaluation"]["offline_updates"] == 300
    # Random play with the right labels teaches: +1 is perfect play, -0.6 that of chance.
    assert summary["student_return"] > 0
    assert run.err == ""


@pytest.mark.slow
@pytest.mark.parametrize("role", ["importer", "replay", "teacher"])
def test_a_run_goes_on_after_a_death_in_the_middle_of_the_import(
    catch_run: Callable[..., CatchRun], catch_teacher: Path, tmp_path: Path, role: str
) -> None:
    data = tmp_path / "recorded"
    transitions = record_play(data, rows=40_000)
    run = catch_run("qdagger", *flags(catch_teacher, data))
    run.start()
    run.wait_until(lambda: "starting" in run.out)
    run.wait_until(lambda: "importing transitions 0" in run.log("importer"))
    run.process(role).kill()
    assert run.wait() == 2
    run.wait_until_alone()
    assert "the teacher's table holds" not in run.log("importer")

    run.start()
    assert run.wait() == 0, run.err
    assert f"the teacher's table holds {transitions} transitions" in run.log("importer")
    summary = json.loads((run.folder / "report" / "summary.json").read_text())
    assert summary["last_evaluation"]["teacher_steps"] == transitions
    assert summary["finished"] is True
