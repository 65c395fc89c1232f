"""Runs in one process that share their teacher's play (`teacher.play`), on Catch."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from concurrent import futures
from pathlib import Path

import numpy as np
import pytest

from rrl_agents.types import Stage
from services.launcher.experiment import Experiment
from services.launcher.one_process import run_in_one_process
from services.launcher.shared_play import SharedPlay
from services.launcher.watching import Answer
from services.learner.codec import progress_from_proto
from services.shared.errors import UserError
from tests.support.experiments import catch_experiment
from tests.support.patience import wait_until


def _without_a_score(experiment: Experiment) -> Experiment:
    """The experiment with a teacher that has to be evaluated."""
    assert experiment.card is not None
    return dataclasses.replace(experiment, card=dataclasses.replace(experiment.card, score=None))


def test_runs_that_share_the_teachers_play_learn_from_the_first_ones(
    catch_teacher: Path, tmp_path: Path
) -> None:
    shared = {
        "teacher.play": str(tmp_path / "play"),
        "evaluation.first_seed": 0,
    }
    tables = []
    for seed in (3, 4):
        run = tmp_path / str(seed)
        experiment = catch_experiment("qdagger", catch_teacher, seed=seed, **shared)
        assert run_in_one_process(experiment, run, threading.Event())
        newest = max((run / "replay" / "00" / "checkpoints").iterdir())
        with np.load(newest / "teacher.npz") as saved:
            tables.append(saved["rows"].view(experiment.layout.row_dtype)["frame"])
    # The second one's own play would have had other frames, at seeds of its own.
    np.testing.assert_array_equal(*tables)
    (table,) = (tmp_path / "play").glob("table-*.npz")
    table.write_bytes(table.read_bytes()[:-1])
    experiment = catch_experiment("qdagger", catch_teacher, seed=5, **shared)
    with pytest.raises(UserError, match="delete it"):
        run_in_one_process(experiment, tmp_path / "5", threading.Event())


def test_a_run_waits_while_another_one_plays(
    catch_teacher: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    shared = {"teacher.play": str(tmp_path / "play"), "evaluation.first_seed": 0}
    experiment = _without_a_score(catch_experiment("qdagger", catch_teacher, **shared))
    other = SharedPlay(tmp_path / "play", experiment)
    assert other.claims_table() and other.claims_evaluation()
    stop, answers = threading.Event(), list[Answer]()
    with (
        contextlib.closing(other),
        futures.ThreadPoolExecutor() as pool,
        # Ends the run if the test fails.
        contextlib.ExitStack() as ending,
    ):
        ending.callback(stop.set)
        run = pool.submit(run_in_one_process, experiment, tmp_path / "run", stop, answers.append)
        wait_until(lambda: run.done() or (caplog.text.count("waiting for") == 2 and answers))
        progress = progress_from_proto(answers[-1].progress)
        assert (progress.stage, progress.teacher_steps) == (Stage.COLLECT, 0)
        assert progress.teacher_return is None
        other.close()
        assert run.result()
    assert {path.suffix for path in (tmp_path / "play").glob("[!.]*")} == {".json", ".npz"}


def test_a_run_without_the_teachers_data_takes_only_its_evaluation(
    catch_teacher: Path, tmp_path: Path
) -> None:
    shared = {"teacher.play": str(tmp_path / "play"), "evaluation.first_seed": 0}
    experiment = _without_a_score(catch_experiment("kickstarting", catch_teacher, **shared))
    assert experiment.targets.teacher_steps == 0
    assert run_in_one_process(experiment, tmp_path / "run", threading.Event())
    left = {path.name.split("-")[0] for path in (tmp_path / "play").iterdir()}
    assert left == {"evaluation", ".evaluation"}
