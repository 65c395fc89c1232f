from __future__ import annotations

from pathlib import Path

import pytest

from services.bench.collecting import collect, nominal_frames
from services.bench.folder import BenchFolder
from services.bench.plan import Plan, plan_suite
from services.bench.results import read_results, write_results
from services.bench.suite import parse_suite
from services.learner.evaluation_records import append_record
from services.learner.pending_evaluations import EVALUATIONS_FILE
from tests.support.bench_rows import record

SUITE = """
name = "catch"
environment = "catch"
games = []
seeds = [0]
teacher.checkpoint = "{teacher}"
[settings]
"method.q_learning.min_replay_size" = 200
"online_steps" = 1_000
[entries.qdagger]
method = "qdagger"
student = "vector_dqn"
[entries.scratch]
method = "tabula_rasa"
student = "vector_dqn"
"""


@pytest.fixture
def folder(tmp_path: Path) -> BenchFolder:
    return BenchFolder(tmp_path)


@pytest.fixture
def plan(folder: BenchFolder, catch_teacher: Path) -> Plan:
    return plan_suite(parse_suite(SUITE.replace("{teacher}", str(catch_teacher))), folder)


def test_frames_are_counted_by_updates(plan: Plan) -> None:
    config = plan.students[0].config
    # 200 decisions before the first update, 4 for each; 4 frames each.
    assert nominal_frames(config, 50, frames_per_step=4) == (200 + 50 * 4) * 4
    # Nothing has been learned from the student's own play yet.
    assert nominal_frames(config, 0, frames_per_step=4) == 0


def test_a_runs_records_become_rows(plan: Plan, folder: BenchFolder) -> None:
    records = plan.students[0].folder / EVALUATIONS_FILE
    append_record(records, record(0, -1.0, 1.0))
    append_record(records, record(200, 1.0, 1.0, 0.0, 1.0, final=True))
    results = collect(plan)
    first, last = results.evaluations
    assert (first.entry, first.method, first.student, first.game) == (
        "qdagger",
        "qdagger",
        "vector_dqn",
        "catch",
    )
    assert (first.frames, first.mean_return, first.episodes, first.final) == (0, 0.0, 2, False)
    # 200 + 200 x 4 decisions; Catch has one frame per decision, and episodes of 9.
    assert (last.frames, last.mean_return, last.episodes, last.final) == (1_000, 0.75, 4, True)
    assert (last.teacher_frames, last.offline_updates) == (600, 300)
    assert (last.sticky_actions, last.max_episode_steps) == (0.0, 9)
    assert [row.episode_return for row in results.episodes] == [-1.0, 1.0, 1.0, 1.0, 0.0, 1.0]
    assert [row.episode for row in results.episodes] == [0, 1, 0, 1, 2, 3]
    write_results(folder.results, results)
    kept = read_results(folder.results)
    assert (kept.evaluations, kept.references) == (results.evaluations, results.references)


def test_the_references_say_where_they_come_from(plan: Plan) -> None:
    (row,) = collect(plan).references
    assert (row.game, row.random_return, row.teacher_return) == ("catch", -0.6, 1.0)
    assert (row.teacher, row.teacher_episodes, row.teacher_epsilon) == ("catch_by_hand", 1, 0.0)
    assert row.random_source == "exact, by arithmetic"
    assert row.teacher_source == "the teacher's card"
    # Nobody computed an interval, or wrote down how it was trained.
    assert (row.teacher_low, row.teacher_frames, row.teacher_max_episode_steps) == (None,) * 3


def test_a_stretch_that_a_resumed_run_played_again_counts_once(plan: Plan) -> None:
    records = plan.students[1].folder / EVALUATIONS_FILE
    for online_updates, mean_return in ((50, 0.1), (100, 0.2), (75, 0.3)):
        append_record(records, record(online_updates, mean_return))
    assert [row.mean_return for row in collect(plan).evaluations] == [0.1, 0.3]
