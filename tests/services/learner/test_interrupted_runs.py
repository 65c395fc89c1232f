"""A run that is interrupted weans as one that is not."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rrl_agents.types import Progress, Stage
from services.learner.client import LearnerClient, Purpose
from services.learner.codec import EvaluationReport
from services.learner.config import LearnerConfig
from services.learner.evaluation_records import read_records
from services.learner.stage_transitions import StageTargets
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from tests.support.learner_runs import (
    STEPS,
    ReplayShard,
    config_of,
    fill,
    joined,
    wait_for,
    working,
)

RETURNS = {4: -0.5, 7: 0.1, 12: 0.2, 17: -0.2, 19: 0.6}
"""What the weights of a short run return, by version."""


def result(version: int) -> EvaluationReport:
    return EvaluationReport(
        weights_version=version,
        episode_returns=(RETURNS[version],),
        episode_steps=(9,),
        epsilon=0.001,
    )


@contextlib.contextmanager
def another_run(folder: Path) -> Iterator[LearnerConfig]:
    """A run with both tables filled, of 6 and 12 updates, which waits for each evaluation."""
    run = folder / "run"
    run.mkdir(parents=True)
    replay = ReplayShard(run / "replay")
    fill(replay.address, TEACHER_TABLE)
    fill(replay.address, STUDENT_TABLE)
    try:
        yield dataclasses.replace(
            config_of(run, replay.shard),
            targets=StageTargets(teacher_steps=STEPS, offline_updates=6, online_updates=12),
            pause_for_evaluation=True,
            linger_seconds=None,
        )
    finally:
        replay.stop()


def evaluated_to_its_end(config: LearnerConfig) -> tuple[list[int], Progress]:
    """Train a run to its end; gives the versions that an evaluator had to play, and its end."""
    played: list[int] = []
    address = f"localhost:{config.port}"
    with (
        working(config) as progress,
        contextlib.closing(LearnerClient(address)) as client,
    ):
        while wait_for(progress, lambda _: True).stage is not Stage.FINISHED:
            update = client.fetch(0, Purpose.EVALUATE)
            if update.params is not None:
                client.report(dataclasses.replace(result(update.version), session=update.session))
                played.append(update.version)
            threading.Event().wait(0.01)
        return played, progress()


def interrupted(config: LearnerConfig, when: str) -> None:
    """Train until weights 12 are to be evaluated and a checkpoint is made, then end as by a kill.

    Args:
        config: Of the run.
        when: Whether the result comes in before the checkpoint, after it, or never.
    """
    learner = joined(config)
    stop = threading.Event()
    for _ in range(200):
        learner.step(stop)
        version = learner.served.evaluation.version
        if version == 12:
            break
        if version:
            learner.served.take_evaluation(result(version))
    if when == "before":
        learner.served.take_evaluation(result(12))
    learner.save_checkpoint()
    if when == "after":
        learner.served.take_evaluation(result(12))
    learner.close()


@pytest.mark.parametrize(
    ("when", "left"),
    [("before", [17, 19]), ("after", [17, 19]), ("never", [12, 17, 19])],
)
def test_an_interrupted_run_weans_as_an_uninterrupted_one_does(
    tmp_path: Path, when: str, left: list[int]
) -> None:
    with another_run(tmp_path / "whole") as config:
        whole = config.run / "metrics" / "evaluations.jsonl"
        played, end = evaluated_to_its_end(config)
        assert played == list(RETURNS)
    with another_run(tmp_path / "interrupted") as config:
        parts = config.run / "metrics" / "evaluations.jsonl"
        interrupted(config, when)
        resumed, same_end = evaluated_to_its_end(config)
    # Only what was outstanding at the checkpoint and did not come back is played again.
    assert resumed == left
    seen = [
        [
            (one.weights_version, one.learner_updates, one.episode_returns, one.weaning_weight)
            for one in read_records(file)
        ]
        for file in (whole, parts)
    ]
    assert seen[0] == seen[1]
    # 1 - (0.2 + 0.6) / 1.6, 1 - (-0.2 + 0.6) / 1.6, 1 - (0.6 + 0.6) / 1.6
    assert [weight for *_, weight in seen[1]] == pytest.approx([1.0, 1.0, 0.5, 0.75, 0.25])
    for progress in (end, same_end):
        assert (progress.evaluations, progress.evaluated_updates) == (5, 18)
        assert (progress.online_return, progress.weaning_weight) == (0.6, pytest.approx(0.25))
