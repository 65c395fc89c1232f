"""The main job in small, from the command to the report: a teacher of Catch is reincarnated.

The run outlives the death of a role, of everything, and Ctrl-C, and loses only what came after its
newest checkpoint.

That weights, optimiser and replay come back bit by bit is shown in
tests/services/learner/test_checkpoints.py.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rrl_agents.types import Progress, Stage
from services.learner.checkpoint_records import RunCheckpoint
from services.learner.client import LearnerClient, LearnerUnavailable
from services.learner.codec import progress_from_proto
from services.learner.evaluation_records import read_records
from services.replay.connection import table_counts
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE

if TYPE_CHECKING:
    from tests.end_to_end.conftest import CatchRun

MIN_REPLAY_SIZE = 200
OFFLINE_UPDATES = 1_000
ONLINE_STEPS = 10_200
WEAN_STEPS = 8_000

MOST_STEPS_IN_BETWEEN = 100
"""A few hundredths of a second of two actors, at some 2,000 steps/s."""

CLOCKS = ("stage", "teacher_steps", "offline_updates", "online_updates", "evaluations")


@pytest.fixture
def run(catch_run: Callable[..., CatchRun], catch_teacher: Path) -> CatchRun:
    return catch_run("qdagger", *flags(catch_teacher, checkpoint_period_seconds=1))


def flags(catch_teacher: Path, checkpoint_period_seconds: int) -> tuple[str, ...]:
    return (
        f"--teacher.checkpoint={catch_teacher}",
        "--teacher-steps=1500",
        f"--online-steps={ONLINE_STEPS}",
        f"--checkpoint-period-seconds={checkpoint_period_seconds}",
        "--offline-evaluation-period=500",
        "--online-evaluation-period=500",
        "--num-actors=1",
        "--envs-per-actor=4",
        "--evaluation.final-episodes=50",
        "--replay-capacity=30000",
        "--publish-period-updates=20",
        f"--method.offline-updates={OFFLINE_UPDATES}",
        "--method.weaning.taught-learning-rate=0.003",
        "--method.weaning.weaned-learning-rate=0.0003",
        f"--method.weaning.wean-steps={WEAN_STEPS}",
        f"--method.q-learning.min-replay-size={MIN_REPLAY_SIZE}",
        "--method.q-learning.target-update-steps=200",
        "--method.q-learning.epsilon-decay-steps=200",
    )


def has_checkpoint_online_after(run: CatchRun, number: int) -> bool:
    checkpoint = run.checkpoint
    return (
        checkpoint is not None
        and checkpoint.number > number
        and checkpoint.record.progress.stage is Stage.ONLINE
        and checkpoint.record.progress.online_updates > 0
    )


def newest(run: CatchRun) -> RunCheckpoint:
    checkpoint = run.checkpoint
    assert checkpoint is not None
    return checkpoint


def assert_not_behind(progress: Progress, checkpoint: RunCheckpoint) -> None:
    for clock in CLOCKS:
        assert getattr(progress, clock) >= getattr(checkpoint.record.progress, clock), clock
    if progress.evaluations == checkpoint.record.progress.evaluations:
        assert progress.student_return == checkpoint.record.progress.student_return


def assert_goes_on_from(run: CatchRun, checkpoint: RunCheckpoint) -> None:
    """Scrape at a session that has just started: log, replay and progress."""
    run.wait_until(lambda: f"resuming {run.folder}" in run.out)
    run.wait_until(lambda: "resuming from" in run.log("learner"))
    found = re.search(r"resuming from \S*/(\d+): (\w+), (\d+) updates", run.log("learner"))
    assert found is not None
    record = checkpoint.record
    assert int(found[1]) == checkpoint.number
    assert found[2] == record.progress.stage.name
    assert int(found[3]) == record.progress.learner_updates

    run.wait_until(lambda: "Started replay server" in run.log("replay"))
    counts = table_counts(run.address("replay"), timeout_seconds=60)
    # Actors went on between the count and the replay checkpoint of the checkpoint.
    later = counts[TEACHER_TABLE].inserted - record.progress.teacher_steps
    assert 0 <= later <= MOST_STEPS_IN_BETWEEN
    student = counts[STUDENT_TABLE]
    assert student.inserted >= record.progress.actor_steps
    assert student.sampled >= 32 * record.progress.online_updates
    # 32 samples per 4 decisions, within the limiter's two blocks of ten batches of 32, and one item
    # on either side.
    owed = 8 * (student.inserted - MIN_REPLAY_SIZE)
    assert abs(owed - student.sampled) <= 640 + 8

    progress = first_progress(run)
    assert_not_behind(progress, checkpoint)
    if progress.evaluations == record.progress.evaluations and progress.actor_steps < WEAN_STEPS:
        assert progress.weaning_weight == record.progress.weaning_weight


def first_progress(run: CatchRun) -> Progress:
    client = LearnerClient(run.address("learner"))
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


def test_a_run_goes_on_after_the_death_of_everything_and_comes_to_its_end(run: CatchRun) -> None:
    run.start()
    run.wait_until(lambda: has_checkpoint_online_after(run, 0))
    first_line, *shown = run.out.splitlines()
    assert first_line == f"starting {run.folder}"
    # The display looks once a second, and a stage of Catch may be over in less.
    assert any(line.startswith(("collect", "offline", "online")) for line in shown)
    run.signal_group(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    run.wait_until_alone()
    saved = newest(run)

    run.start()
    assert_goes_on_from(run, saved)
    assert run.wait() == 0, run.err
    run.wait_until_alone()
    end = newest(run).record.progress
    assert end.stage is Stage.FINISHED
    assert end.offline_updates == OFFLINE_UPDATES
    # One update per 4 decisions, once the first are there.
    assert end.online_updates == (ONLINE_STEPS - MIN_REPLAY_SIZE) // 4
    assert run.roles == {"teacher", "replay", "learner", "evaluator", "actor"}
    assert_reported(run)


@pytest.mark.slow
def test_ctrl_c_stops_everybody_in_order_after_a_last_checkpoint(run: CatchRun) -> None:
    run.start()
    run.wait_until(lambda: has_checkpoint_online_after(run, 0))
    before = newest(run)
    # A busy machine may do nothing between a checkpoint and the signal: then nothing is to save.
    run.wait_until(
        lambda: first_progress(run).learner_updates > newest(run).record.progress.learner_updates
    )
    run.signal_group(signal.SIGINT)
    assert run.wait() in (0, 130)
    run.wait_until_alone()
    updates = newest(run).record.progress.learner_updates
    last = run.out.splitlines()[-1]
    assert last.startswith(f"stopped; saved in the newest checkpoint, after {updates:,} updates: ")
    assert last.endswith(f"The same command resumes {run.folder}")
    assert run.err == ""
    saved = newest(run)
    # The signal may come while the checkpoint before is being finished: then there is no more to
    # keep.
    assert saved.number >= before.number
    assert saved.record.seconds >= before.record.seconds
    assert_not_behind(saved.record.progress, before)

    run.start()
    assert_goes_on_from(run, saved)
    run.signal_group(signal.SIGKILL)
    run.wait()


@pytest.mark.slow
def test_a_learner_that_is_killed_while_the_run_is_stopped_ends_it_with_what_is_lost(
    catch_run: Callable[..., CatchRun], catch_teacher: Path
) -> None:
    run = catch_run("qdagger", *flags(catch_teacher, checkpoint_period_seconds=600))
    run.start()
    # One checkpoint as the stage begins, and updates after it that the display has shown.
    run.wait_until(lambda: len(re.findall("^online [1-9]", run.out, re.MULTILINE)) >= 2)
    learner = run.process("learner")
    learner.suspend()
    run.signal_group(signal.SIGINT)
    run.wait_until(lambda: "stopping; " in run.out)
    learner.kill()
    assert run.wait() == 2
    updates = newest(run).record.progress.learner_updates
    assert f"ended before it could save: updates {updates + 1:,} to " in run.err


def assert_reported(run: CatchRun) -> None:
    """A finished run: the student plays as its teacher, and everything is written."""
    report = run.folder / "report"
    summary = json.loads((report / "summary.json").read_text())
    # The teacher never misses: +1, the random policy gets -0.6, and 0.8 of the way is 0.68.
    assert summary["teacher_return"] == 1.0
    assert summary["random_return"] == pytest.approx(-0.6)
    assert summary["teacher_normalised_score"] >= 0.8
    assert summary["student_return"] >= 0.68
    assert summary["finished"] is True
    assert summary["last_evaluation"]["offline_updates"] == OFFLINE_UPDATES
    # The students' decisions have passed the weaning's end.
    assert summary["last_evaluation"]["weaning_weight"] == 0.0

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

    lines = run.out.splitlines()
    assert any(line.startswith("finished") for line in lines)
    assert any(line.split() == ["report:", str(report / "index.html")] for line in lines[-6:])
    assert run.err == ""


@pytest.mark.slow
@pytest.mark.parametrize("role", ["teacher", "replay", "learner", "actor", "evaluator", "launcher"])
def test_a_run_goes_on_after_the_death_of_any_process(run: CatchRun, role: str) -> None:
    run.start()
    run.wait_until(lambda: has_checkpoint_online_after(run, 0))
    if role == "launcher":
        # No launcher is left to stop the roles: they notice by themselves, and the learner saves a
        # checkpoint.
        run.launcher.kill()
        run.wait()
    else:
        run.process(role).kill()
        assert run.wait() == 2
        (line,) = run.err.splitlines()
        assert f"The same command resumes {run.folder} from its newest checkpoint" in line
    run.wait_until_alone()
    saved = newest(run)

    run.start()
    assert_goes_on_from(run, saved)
    run.signal_group(signal.SIGINT)
    assert run.wait() in (0, 130)
    run.wait_until_alone()
