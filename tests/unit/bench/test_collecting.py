from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TypeAlias

import pytest

from services.bench.collecting import collect, nominal_frames, reference_row
from services.bench.folder import BenchFolder
from services.bench.plan import PlannedRun, plan_suite
from services.bench.results import TEACHER
from services.bench.suite import parse_suite
from services.launcher.experiment import Experiment
from services.launcher.resolution import resolve
from services.learner.evaluation_records import EvaluationRecord, append_record
from services.learner.pending_evaluations import EVALUATIONS_FILE
from services.shared.run_provenance import PROVENANCE_FILE, Provenance, Session
from services.shared.run_records import write_record
from tests.support.bench_rows import SUITE_TEXT, changed, record

Runs: TypeAlias = tuple[PlannedRun, ...]

METHOD = "qdagger", "vector_dqn"
PROTOCOL = 0.001, 0.0, 9
"""Epsilon, sticky actions, most steps of an episode."""


@pytest.fixture
def plan(tmp_path: Path, catch_teacher: Path) -> Runs:
    text = SUITE_TEXT
    for found, given in (
        ('"minatar"', '"catch"'),
        ('["asterix", "breakout"]', "[]"),
        ("[0, 1]", "[0]"),
        ("teachers/{game}", str(catch_teacher)),
        ("2_000", '1_000\n"method.q_learning.min_replay_size" = 200'),
        ("minatar_dqn", "vector_dqn"),
    ):
        text = changed(found, given, text)
    return plan_suite(parse_suite(text), BenchFolder(tmp_path))


@pytest.fixture
def experiment(plan: Runs) -> Experiment:
    return resolve(plan[1].config)


def test_frames_are_counted_by_updates(plan: Runs) -> None:
    config = plan[0].config
    # 200 decisions before the first update, 4 for each; 4 frames each.
    assert nominal_frames(config, 50, frames_per_step=4) == (200 + 50 * 4) * 4
    # Nothing has been learned from the student's own play yet.
    assert nominal_frames(config, 0, frames_per_step=4) == 0


def test_runs_are_counted_by_what_they_were_made_with(plan: Runs) -> None:
    def note(run: PlannedRun, *commands: str) -> None:
        sessions = tuple(
            Session(started="then", command=command, code="rrl-agents 0.1.0", hardware="2 cores")
            for command in commands
        )
        provenance = Provenance(parents=(), sessions=sessions)
        run.folder.mkdir(parents=True)
        write_record(run.folder / PROVENANCE_FILE, provenance)

    # The first was resumed twice.
    note(plan[0], "rrl bench run a", "rrl bench run a", "rrl bench run b")
    note(plan[1], "rrl bench run a")
    found = {(row.command, row.runs) for row in collect(plan).sessions}
    assert found == {("rrl bench run a", 2), ("rrl bench run b", 1)}


def test_what_else_episodes_are_judged_by_becomes_rows_of_final_weights(plan: Runs) -> None:
    def judged(of: EvaluationRecord) -> EvaluationRecord:
        return dataclasses.replace(of, episode_metrics={"caught": of.episode_returns})

    fixed = dataclasses.replace(plan[0].config.evaluation, first_seed=0)
    runs = [
        dataclasses.replace(run, config=dataclasses.replace(run.config, evaluation=fixed))
        for run in plan[:2]
    ]
    for run in runs:
        records = run.folder / EVALUATIONS_FILE
        append_record(records, judged(record(0, 1.0, player="teacher")))
        append_record(records, judged(record(0, 0.0)))
        append_record(records, judged(record(200, -1.0, final=True)))
    rows = [dataclasses.astuple(row) for row in collect(runs).episodes]
    # The teacher's episodes are the same in all runs: one is enough.
    assert [row for row in rows if row[3] == "caught"] == [
        (TEACHER, "catch", 0, "caught", 0, 1.0),
        ("qdagger", "catch", 0, "caught", 0, -1.0),
        ("scratch", "catch", 0, "caught", 0, -1.0),
    ]
    # Without fixed seeds, or where a run has another protocol or environment, they are others.
    config = runs[1].config
    for other in (
        dataclasses.replace(config, evaluation=dataclasses.replace(fixed, epsilon=0.5)),
        dataclasses.replace(config, environment=dataclasses.replace(config.environment, balls=2)),
    ):
        unlike = [runs[0], dataclasses.replace(runs[1], config=other)]
        assert {row.entry for row in collect(unlike).episodes} == {"qdagger", "scratch"}
    assert {row.entry for row in collect(plan[:2]).episodes} == {"qdagger", "scratch"}


def test_a_runs_records_become_rows(plan: Runs) -> None:
    records = plan[0].folder / EVALUATIONS_FILE
    append_record(records, record(0, -1.0, 1.0))
    append_record(records, record(200, 1.0, 1.0, 0.0, 1.0, final=True))
    found = collect(plan)
    # 200 + 200 x 4 decisions; Catch has one frame per decision, and episodes of 9.
    assert [*map(dataclasses.astuple, found.evaluations)] == [
        ("qdagger", *METHOD, "catch", 0, 0, 600, 300, 0, 0.0, 2, *PROTOCOL, False),
        ("qdagger", *METHOD, "catch", 0, 1_000, 600, 300, 200, 0.75, 4, *PROTOCOL, True),
    ]
    # No interval was computed, or recorded how the teacher was trained.
    assert [*map(dataclasses.astuple, found.references)] == [
        ("catch", -0.6, "exact, by arithmetic", "catch_by_hand", 1.0, None, None, 1, 0.0, 0.0)
        + (None, "the teacher's card", None, None)
    ]


def test_a_stretch_that_a_resumed_run_played_again_counts_once(
    plan: Runs,
) -> None:
    records = plan[1].folder / EVALUATIONS_FILE
    for online_updates, mean_return in ((50, 0.1), (100, 0.2), (75, 0.3)):
        append_record(records, record(online_updates, mean_return))
    assert [row.mean_return for row in collect(plan).evaluations] == [0.1, 0.3]


def test_a_teacher_without_a_score_has_that_of_its_play_beside_the_students(
    experiment: Experiment,
) -> None:
    played = record(0, 1.0, -1.0, player="teacher")
    assert experiment.card is not None
    card = dataclasses.replace(experiment.card, score=None)
    unscored = dataclasses.replace(experiment, card=card)
    assert reference_row("catch", unscored, []) is None
    row = reference_row("catch", unscored, [played, played])
    assert row is not None
    # 1, -1, 1, -1.
    assert (row.teacher_return, row.teacher_episodes, row.teacher_epsilon) == (0.0, 4, 0.001)
    assert row.teacher_low is not None
    assert row.teacher_high is not None
    assert -1.0 <= row.teacher_low < 0.0 < row.teacher_high <= 1.0
    assert (row.teacher_sticky_actions, row.teacher_max_episode_steps) == (0.0, 9)
    assert row.teacher_source == "played by the evaluators of 2 of the students' runs"


def test_scores_are_measured_by_the_suites_teacher_not_by_an_entrys_own(plan: Runs) -> None:
    own = dataclasses.replace(plan[0], has_suites_teacher=False)
    missing = dataclasses.replace(plan[0].config.teacher, checkpoint="nowhere")
    own = dataclasses.replace(own, config=dataclasses.replace(own.config, teacher=missing))
    append_record(own.folder / EVALUATIONS_FILE, record(0, -0.5, player="teacher"))
    append_record(own.folder / EVALUATIONS_FILE, record(200, 0.5, final=True))
    found = collect([own, *plan[1:]])
    assert [row.mean_return for row in found.evaluations] == [0.5]
    assert [row.teacher for row in found.references] == ["catch_by_hand"]


def test_a_score_in_the_suites_settings_goes_before_any_other(experiment: Experiment) -> None:
    teacher = dataclasses.replace(experiment.config.teacher, mean_return=0.5)
    config = dataclasses.replace(experiment.config, teacher=teacher)
    row = reference_row("catch", dataclasses.replace(experiment, config=config), [record(0, 1.0)])
    assert row is not None
    assert (row.teacher_return, row.teacher_episodes) == (0.5, None)
    assert row.teacher_source == "given in the suite's settings"
