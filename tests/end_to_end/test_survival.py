"""A run outlives the death of a role, of everything, and Ctrl-C, and loses only uncommitted work.

That weights, optimiser and replay come back bit by bit is shown in
tests/services/test_learner_service.py.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rrl_agents.types import Progress, Stage
from services.learner.checkpointing import Commit
from services.learner.codec import progress_from_proto
from services.learner.progress_client import ProgressClient
from services.learner.weight_client import LearnerUnavailable
from services.replay.reader import STUDENT_TABLE, TEACHER_TABLE, table_counts

if TYPE_CHECKING:
    from tests.end_to_end.conftest import CatchRun

MIN_REPLAY_SIZE = 200
OFFLINE_UPDATES = 200
ONLINE_STEPS = 10_200

MOST_STEPS_IN_BETWEEN = 100
"""A few hundredths of a second of two actors, at some 2,000 steps/s."""

CLOCKS = ("stage", "teacher_steps", "offline_updates", "online_updates", "evaluations")


@pytest.fixture
def run(catch_run: Callable[..., CatchRun], catch_teacher: Path) -> CatchRun:
    return catch_run(
        "qdagger",
        f"--teacher.checkpoint={catch_teacher}",
        "--teacher-steps=1500",
        f"--online-steps={ONLINE_STEPS}",
        "--checkpoint-period-seconds=1",
        "--offline-evaluation-period=100",
        "--online-evaluation-period=500",
        "--num-actors=1",
        "--envs-per-actor=4",
        "--replay-capacity=30000",
        f"--method.offline-updates={OFFLINE_UPDATES}",
        "--method.weaning.taught-learning-rate=0.005",
        "--method.weaning.wean-steps=20000",
        f"--method.q-learning.min-replay-size={MIN_REPLAY_SIZE}",
        "--method.q-learning.target-update-steps=200",
    )


def has_committed_online_after(run: CatchRun, number: int) -> bool:
    commit = run.commit
    return (
        commit is not None
        and commit.number > number
        and commit.record.progress.stage is Stage.ONLINE
        and commit.record.progress.online_updates > 0
    )


def newest(run: CatchRun) -> Commit:
    commit = run.commit
    assert commit is not None
    return commit


def assert_not_behind(progress: Progress, commit: Commit) -> None:
    for clock in CLOCKS:
        assert getattr(progress, clock) >= getattr(commit.record.progress, clock), clock
    if progress.evaluations == commit.record.progress.evaluations:
        assert progress.student_return == commit.record.progress.student_return


def assert_goes_on_from(run: CatchRun, commit: Commit) -> None:
    """Look at a session that has just started: log, replay and progress."""
    run.wait_until(lambda: f"going on with {run.folder}" in run.out)
    run.wait_until(lambda: "going on from" in run.log("learner"))
    found = re.search(r"going on from \S*/(\d+): (\w+), (\d+) updates", run.log("learner"))
    assert found is not None
    record = commit.record
    assert int(found[1]) == commit.number
    assert found[2] == record.progress.stage.name
    assert int(found[3]) == record.progress.learner_updates

    run.wait_until(lambda: "Started replay server" in run.log("replay"))
    counts = table_counts(run.address("replay"), timeout_seconds=60)
    # Actors went on between the count and the replay checkpoint of the commit.
    later = counts[TEACHER_TABLE].inserted - record.progress.teacher_steps
    assert 0 <= later <= MOST_STEPS_IN_BETWEEN
    student = counts[STUDENT_TABLE]
    assert student.inserted >= record.progress.actor_steps
    assert student.sampled >= 32 * record.progress.online_updates
    # 32 samples per 4 decisions, within the limiter's 512 and one item on either side.
    owed = 8 * (student.inserted - MIN_REPLAY_SIZE)
    assert abs(owed - student.sampled) <= 512 + 8

    progress = first_progress(run)
    assert_not_behind(progress, commit)
    if progress.evaluations == record.progress.evaluations and progress.actor_steps < 20_000:
        assert progress.weaning_weight == record.progress.weaning_weight


def first_progress(run: CatchRun) -> Progress:
    client = ProgressClient(run.address("learner"))
    answers = []

    def answers_now() -> bool:
        try:
            answers.append(progress_from_proto(client.progress().progress))
        except LearnerUnavailable:
            return False
        return True

    run.wait_until(answers_now)
    client.close()
    return answers[0]


@pytest.mark.timeout(900)
def test_a_run_goes_on_after_a_kill_and_after_ctrl_c_and_comes_to_its_end(run: CatchRun) -> None:
    # Everything is killed at once, the launcher included.
    run.start()
    run.wait_until(lambda: has_committed_online_after(run, 0))
    run.signal_group(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    run.wait_until_alone()
    committed = newest(run)

    # Ctrl-C: everybody stops in order, after a last commit.
    run.start()
    assert_goes_on_from(run, committed)
    run.signal_group(signal.SIGINT)
    assert run.wait() in (0, 130)
    run.wait_until_alone()
    assert run.out.splitlines()[-1] == f"stopped; the same command goes on with {run.folder}"
    assert run.err == ""
    before, committed = committed, newest(run)
    assert committed.number > before.number
    assert committed.record.seconds > before.record.seconds
    assert_not_behind(committed.record.progress, before)

    # And on to the end.
    run.start()
    assert run.wait() == 0, run.err
    run.wait_until_alone()
    end = newest(run).record.progress
    assert end.stage is Stage.FINISHED
    assert end.offline_updates == OFFLINE_UPDATES
    assert end.online_updates == (ONLINE_STEPS - MIN_REPLAY_SIZE) // 4
    assert (run.folder / "report" / "README.md").is_file()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("role", ["teacher", "replay", "learner", "actor", "evaluator", "launcher"])
def test_a_run_goes_on_after_the_death_of_any_process(run: CatchRun, role: str) -> None:
    run.start()
    run.wait_until(lambda: has_committed_online_after(run, 0))
    if role == "launcher":
        # Nobody is left to stop the roles: they notice by themselves, and the learner commits.
        run.launcher.kill()
        run.wait()
    else:
        run.process(role).kill()
        assert run.wait() == 2
        (line,) = run.err.splitlines()
        assert f"--run {run.folder} to go on from the last checkpoint" in line
    run.wait_until_alone()
    committed = newest(run)

    run.start()
    assert_goes_on_from(run, committed)
    run.signal_group(signal.SIGINT)
    assert run.wait() in (0, 130)
    run.wait_until_alone()
