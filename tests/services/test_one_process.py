"""Whole runs of every method on Catch, in one process and one thread."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from minari import MinariDataset

from rrl_agents.checkpoints.dopamine_replay.rows import open_dopamine_replay
from rrl_agents.reincarnation.registry import METHODS
from rrl_agents.types import Stage
from services.cli.teacher_minari import minari
from services.launcher.launch_one_process import launch_in_one_process
from services.launcher.one_process import run_in_one_process
from services.launcher.progress_display import ProgressDisplay
from services.launcher.run_directory import open_run
from services.launcher.trained_student import read_student
from services.launcher.watching import Answer
from services.learner.checkpoint_records import newest_checkpoint
from services.learner.evaluation_records import read_records
from services.replay.config import ReplayConfig
from services.replay.local_tables import LocalTables
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.shared.errors import UserError
from services.shared.locks import LAUNCHER_LOCK, locked
from tests.support.experiments import (
    MIN_REPLAY_SIZE,
    ONLINE_STEPS,
    catch_experiment,
)
from tests.support.recorded_catch import recorded_catch


def _marks(method: str) -> list[pytest.MarkDecorator]:
    # Each takes three seconds; these three have between them a guide, mixed batches, both stages,
    # the teacher's labels and its weights.
    return [] if method in ("jsrl", "rehearsal", "fine_tuning") else [pytest.mark.slow]


@pytest.mark.parametrize(
    "method", [pytest.param(method, marks=_marks(method)) for method in METHODS]
)
def test_a_run_goes_through_its_stages_to_the_end(
    method: str, catch_teacher: Path, tmp_path: Path
) -> None:
    experiment = catch_experiment(method, catch_teacher)
    threads = threading.active_count()
    assert run_in_one_process(experiment, tmp_path / "run", threading.Event())
    checkpoint = newest_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    progress = checkpoint.record.progress
    assert progress.stage is Stage.FINISHED
    recipe = experiment.recipe
    assert progress.offline_updates == recipe.offline_updates
    assert progress.online_updates == (ONLINE_STEPS - MIN_REPLAY_SIZE) // 4
    assert (progress.teacher_steps >= 400) == recipe.needs_teacher_data
    records = read_records(tmp_path / "run" / "metrics" / "evaluations.jsonl")
    # None is skipped: one each 20 updates offline and each 40 online, one between, one at the end.
    played = [record.learner_updates for record in records]
    assert played == sorted(played)
    offline = [0, 20, 40] if recipe.offline_updates else [0]
    begun = offline[-1]
    wanted = [update for update in offline if update or not recipe.offline_updates]
    assert played == [*wanted, begun + 40, begun + 80, begun + 100]
    dataset = tmp_path / "ours" / "students-v0"
    minari(str(tmp_path / "run"), out=dataset)
    # Of each of the 4 episodes under way, the last n + 1 rows are in no item, or lead to nothing.
    open_steps = progress.actor_steps - MinariDataset(dataset / "data").total_steps
    assert 0 <= open_steps <= 4 * (recipe.q_learning.n_step + 1)
    # Nothing is left behind in the process but what pools keep.
    assert threading.active_count() <= threads + 8


STUDENTS = {
    "rainbow": {
        "network.head": "categorical",
        "network.num_atoms": 11,
        "network.noisy": True,
        "student.double": True,
        "student.priority_exponent": 0.5,
    },
    "iqn": {"network.head": "implicit_quantile", "network.num_atoms": 8},
    "drq": {
        "network.name": "small_cnn",
        "network.dueling": True,
        "student.random_shift": 1,
        "student.intensity_scale": 0.05,
    },
}


@pytest.mark.parametrize(
    "student",
    ["rainbow", *(pytest.param(name, marks=pytest.mark.slow) for name in ("iqn", "drq"))],
)
def test_students_of_every_kind_go_through_every_role(
    student: str, catch_teacher: Path, tmp_path: Path
) -> None:
    experiment = catch_experiment("qdagger", catch_teacher, **STUDENTS[student])
    assert run_in_one_process(experiment, tmp_path / "run", threading.Event())
    checkpoint = newest_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    progress = checkpoint.record.progress
    assert progress.online_updates == 100
    # C51's cross-entropy of 11 atoms is ln 11 = 2.4 where nothing is known yet: above the 1 that
    # the first transitions enter with.
    prioritised = experiment.config.student.priority_exponent > 0.0
    assert (progress.max_priority > 1.0) == prioritised


def test_a_run_that_is_stopped_saves_a_checkpoint_and_goes_on(
    catch_teacher: Path, tmp_path: Path
) -> None:
    experiment = catch_experiment("jsrl", catch_teacher, num_actors=2)
    stop = threading.Event()

    def stop_in_the_middle(answer: Answer) -> None:
        if answer.progress.online_updates >= 10:
            stop.set()

    assert not run_in_one_process(experiment, tmp_path / "run", stop, stop_in_the_middle)
    checkpoint = newest_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    half = checkpoint.record.progress
    assert 10 <= half.online_updates < 100
    assert run_in_one_process(experiment, tmp_path / "run", threading.Event())
    checkpoint = newest_checkpoint(tmp_path / "run")
    assert checkpoint is not None and checkpoint.record.progress.online_updates == 100


def outcome(run: Path) -> tuple[object, list[bytes]]:
    """All that a run has measured but times, and its final weights."""
    records = read_records(run / "metrics" / "evaluations.jsonl")
    measured = [dataclasses.replace(record, seconds_since_start=0.0) for record in records]
    params = read_student(run, "student").teacher.params
    return measured, [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params)]


@pytest.mark.parametrize("student", ["plain", pytest.param("rainbow", marks=pytest.mark.slow)])
def test_equal_seeds_give_equal_runs(student: str, catch_teacher: Path, tmp_path: Path) -> None:
    settings = STUDENTS.get(student, {})
    experiment = catch_experiment("qdagger", catch_teacher, **settings)
    for name in ("first", "second"):
        assert run_in_one_process(experiment, tmp_path / name, threading.Event())
    assert outcome(tmp_path / "first") == outcome(tmp_path / "second")
    other = catch_experiment("qdagger", catch_teacher, **settings, seed=1)
    assert run_in_one_process(other, tmp_path / "other", threading.Event())
    assert outcome(tmp_path / "other")[1] != outcome(tmp_path / "first")[1]


def test_damaged_tables_take_a_run_back_to_the_checkpoint_before(
    catch_teacher: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    experiment = catch_experiment("qdagger", catch_teacher)
    stop = threading.Event()

    def stop_online(answer: Answer) -> None:
        if answer.progress.online_updates >= 10:
            stop.set()

    assert not run_in_one_process(experiment, run, stop, stop_online)
    newest = newest_checkpoint(run)
    assert newest is not None and newest.record.progress.online_updates >= 10
    tables = run / "replay" / "00" / "checkpoints" / f"{newest.number:08d}" / "student.npz"
    os.truncate(tables, tables.stat().st_size // 2)
    seen: list[int] = []
    assert run_in_one_process(
        experiment,
        run,
        threading.Event(),
        lambda answer: seen.append(answer.progress.online_updates),
    )
    assert min(seen) < newest.record.progress.online_updates
    last = newest_checkpoint(run)
    assert last is not None and last.record.progress.online_updates == 100


def test_a_run_of_several_processes_is_not_resumed_in_one(
    catch_teacher: Path, tmp_path: Path
) -> None:
    open_run(tmp_path / "run", catch_experiment("jsrl", catch_teacher, one_process=False))
    with pytest.raises(UserError, match="differs in one_process"):
        run_in_one_process(
            catch_experiment("jsrl", catch_teacher), tmp_path / "run", threading.Event()
        )


@pytest.mark.parametrize("method", ["qdagger", "fine_tuning"])
def test_recorded_data_is_what_a_run_begins_with(
    method: str, catch_teacher: Path, tmp_path: Path
) -> None:
    data = recorded_catch(tmp_path / "data", rows=700, capacity=1_000)
    experiment = catch_experiment(method, catch_teacher, **{"teacher.data": str(data)})
    assert experiment.data is not None and experiment.targets.teacher_steps == 400
    assert run_in_one_process(experiment, tmp_path / "run", threading.Event())
    checkpoint = newest_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    progress = checkpoint.record.progress
    assert (progress.stage, progress.teacher_steps) == (Stage.FINISHED, 400)
    assert progress.online_updates == (ONLINE_STEPS - MIN_REPLAY_SIZE) // 4
    tables = LocalTables(
        ReplayConfig(
            layout=experiment.layout,
            checkpoint_root=tmp_path,
            teacher_capacity=5_000,
            student_capacity=5_000,
            min_student_size=1,
        ),
        tmp_path / "run" / "replay" / "00" / "checkpoints",
    )
    tables.restore(checkpoint.number)
    # A method that reloads data puts it before the student's own play.
    name = STUDENT_TABLE if experiment.recipe.warm_starts_replay else TEACHER_TABLE
    rows = tables.tables[name].rows_of(np.arange(400))
    # The newest of the recording, each with the teacher's scores.
    recorded = open_dopamine_replay(data)
    newest = recorded.transition_rows(experiment.layout.n_step)[-400:]
    assert rows.columns["action"].tolist() == recorded.columns.action[newest].tolist()
    assert rows.columns["has_teacher"].all()


def test_checkpoints_are_saved_while_recorded_data_is_imported(
    catch_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Read in chunks of 1,024 rows.
    data = recorded_catch(tmp_path / "data", rows=4_000, capacity=5_000)
    experiment = catch_experiment(
        "qdagger",
        catch_teacher,
        **{"teacher.data": str(data), "teacher_steps": 2_500, "checkpoint_period_seconds": 1e-6},
    )
    stop, save, saved = threading.Event(), LocalTables.save, list[int]()

    def noted(tables: LocalTables, number: int, keep: Collection[int]) -> None:
        save(tables, number, keep)
        saved.append(tables.tables[TEACHER_TABLE].inserted)
        if saved[-1]:
            stop.set()

    monkeypatch.setattr(LocalTables, "save", noted)
    assert not run_in_one_process(experiment, tmp_path / "run", stop)
    checkpoint = newest_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    progress = checkpoint.record.progress
    assert progress.stage is Stage.COLLECT
    assert 0 < progress.teacher_steps == saved[-1] < 2_500
    assert run_in_one_process(experiment, tmp_path / "run", threading.Event())
    checkpoint = newest_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    assert checkpoint.record.progress.teacher_steps == 2_500


def test_a_role_that_fails_ends_the_run_with_its_error(
    catch_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> None:
        raise UserError("the emulator is on fire")

    monkeypatch.setattr("services.actor.rollout.Rollout.step", broken)
    with pytest.raises(UserError, match="the emulator is on fire"):
        run_in_one_process(
            catch_experiment("jsrl", catch_teacher), tmp_path / "run", threading.Event()
        )


BROKEN_POLICY = """
import numpy as np

class Small:
    name, game, version = "small", "catch", "1"
    num_actions, observation_shape, observation_dtype = 3, (10, 5, 1), "uint8"
    output, temperature = "q_values", None

    def evaluate(self, observations):
        if len(observations) > 3:
            raise RuntimeError("out of memory: tried to allocate 2.00 GiB")
        return np.zeros((len(observations), 3), np.float32)
"""


def test_a_teacher_that_cannot_serve_ends_the_run_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policy_out_of_memory.py").write_text(BROKEN_POLICY)
    monkeypatch.syspath_prepend(tmp_path)
    settings = {
        "teacher.checkpoint": "policy_out_of_memory:Small",
        "teacher.mean_return": 1.0,
    }
    experiment = catch_experiment("jsrl", tmp_path, **settings)
    with pytest.raises(UserError, match="failed on a batch of 4 states.*out of memory: tried to"):
        run_in_one_process(experiment, tmp_path / "run", threading.Event())


def test_a_run_says_which_evaluation_it_waits_for(catch_teacher: Path, tmp_path: Path) -> None:
    experiment = catch_experiment(
        "qdagger", catch_teacher, pause_for_evaluation=False, one_process=True
    )
    awaited: set[tuple[Stage, int]] = set()

    def note(answer: Answer) -> None:
        if answer.HasField("awaited_updates"):
            awaited.add((Stage(answer.progress.stage), answer.awaited_updates))

    # Each look at the run shows it, instead of one in 0.1 s.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.launcher.one_process._REPORT_SECONDS", 0.0)
        assert run_in_one_process(experiment, tmp_path / "run", threading.Event(), note)
    records = read_records(tmp_path / "run" / "metrics" / "evaluations.jsonl")
    assert {updates for _, updates in awaited} == {record.learner_updates for record in records}


def test_a_loss_that_is_not_finite_ends_the_run_with_its_error(
    catch_teacher: Path, tmp_path: Path
) -> None:
    experiment = catch_experiment("jsrl", catch_teacher, **{"method.learning_rate": 1e30})
    with pytest.raises(UserError, match="not finite"):
        run_in_one_process(experiment, tmp_path / "run", threading.Event())


def test_a_second_start_of_a_run_leaves_nothing_behind(catch_teacher: Path, tmp_path: Path) -> None:
    experiment, run = catch_experiment("jsrl", catch_teacher), tmp_path / "run"
    open_run(run, experiment)
    shown = io.StringIO()
    with (
        locked(run / LAUNCHER_LOCK),
        contextlib.closing(ProgressDisplay(shown)) as display,
        pytest.raises(UserError, match="in use by another process"),
    ):
        launch_in_one_process(experiment, run, threading.Event(), display)
    assert not (run / "logs").exists()
    assert not shown.getvalue()
