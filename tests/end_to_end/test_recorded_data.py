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

if TYPE_CHECKING:
    from tests.end_to_end.conftest import CatchRun

N_STEP = 3


@pytest.fixture
def recorded_play(tmp_path: Path) -> tuple[Path, int]:
    """Games of Catch played at random, as Dopamine saves them; and how many transitions it finds.

    The buffer has wrapped around: its oldest game has lost its beginning.
    """
    environment = catch.CatchEnvironment(1)
    frame = environment.reset(0)[0, :, :, -1]
    random = np.random.default_rng(0)
    buffer = OutOfGraphReplayBuffer(
        observation_shape=frame.shape,
        stack_size=1,
        replay_capacity=1000,
        batch_size=1,
        update_horizon=N_STEP,
    )
    while buffer.add_count < 1500:
        action = random.integers(catch.NUM_ACTIONS)
        step = environment.step(np.asarray([action]))
        if not step.episode_start[0]:
            buffer.add(frame, int(action), float(step.reward[0]), int(step.terminated[0]))
        frame = step.observation[0, :, :, -1]
    folder = tmp_path / "recorded"
    folder.mkdir()
    buffer.save(str(folder), 3)
    return folder, sum(buffer.is_valid_transition(index) for index in range(1000))


@pytest.mark.timeout(480)
def test_a_student_learns_from_recorded_play(
    catch_run: Callable[..., CatchRun], catch_teacher: Path, recorded_play: tuple[Path, int]
) -> None:
    data, transitions = recorded_play
    run = catch_run(
        "qdagger",
        f"--teacher.checkpoint={catch_teacher}",
        f"--teacher.data={data}",
        "--online-steps=600",
        "--num-actors=1",
        "--envs-per-actor=4",
        "--replay-capacity=20000",
        "--publish-period-updates=20",
        f"--method.q-learning.n-step={N_STEP}",
        "--method.q-learning.min-replay-size=200",
        "--method.offline-updates=300",
        "--method.taught-learning-rate=0.003",
    )
    run.start()
    assert run.wait() == 0, run.err
    run.wait_until_alone()
    assert run.roles == {"teacher", "replay", "importer", "learner", "evaluator", "actor"}
    # The importer ended long before the run did, and nobody played for the teacher's table.
    assert f"the teacher's table holds {transitions} transitions" in run.log("importer")
    config = json.loads((run.folder / "config.json").read_text())
    assert config["budgets"]["teacher_steps"] == transitions
    assert config["teacher"]["data"] == str(data)
    assert len(config["teacher"]["data_fingerprint"]) == 64
    summary = json.loads((run.folder / "report" / "summary.json").read_text())
    assert summary["finished"] is True
    assert summary["teacher_steps"] == transitions
    assert summary["offline_updates"] == 300
    # Random play with the right labels teaches: +1 is perfect play, -0.6 that of chance.
    assert summary["student_return"] > 0
    assert run.err == ""
