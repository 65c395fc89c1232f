from __future__ import annotations

import pytest

from rrl_agents.schedules.weaning import until_matching_teacher
from rrl_agents.types import Progress, Stage
from services.learner.run_clock import RunClock


def clock() -> RunClock:
    # random 0, teacher 10: a student's return of 4 is a score of 0.4.
    return RunClock(
        Progress(random_return=0.0, teacher_return=10.0), until_matching_teacher(wean_steps=100)
    )


PRETRAINED = Progress(random_return=0.0, offline_updates=4)
PLAYING = Progress(random_return=0.0, offline_updates=4, online_updates=3)
"""Clocks of weights that have not, and that have, learned online."""


def test_updates_count_in_the_stage_they_are_made_in() -> None:
    run = clock()
    run.change(stage=Stage.OFFLINE)
    run.count_updates()
    run.count_updates()
    run.change(stage=Stage.ONLINE)
    run.count_updates()
    assert (run.progress.offline_updates, run.progress.online_updates) == (2, 1)
    assert run.progress.learner_updates == 3


def test_an_evaluation_weans_the_student_by_what_it_has_reached() -> None:
    run = clock()
    run.change(stage=Stage.ONLINE)
    assert run.progress.weaning_weight == 1.0
    after = run.take_return(4.0, PLAYING)
    # 1 - (4 - 0) / (10 - 0)
    assert after.weaning_weight == pytest.approx(0.6)
    assert (after.student_return, after.evaluations, after.evaluated_updates) == (4.0, 1, 7)


def test_how_well_the_offline_stage_went_does_not_wean() -> None:
    run = clock()
    run.change(stage=Stage.OFFLINE)
    run.take_return(12.0, PRETRAINED)
    run.change(stage=Stage.ONLINE)
    # Better than the teacher, but of weights that have not learned online.
    assert run.take_return(12.0, PRETRAINED).weaning_weight == 1.0
    assert run.progress.student_return == 12.0
    assert run.take_return(5.0, PLAYING).weaning_weight == 0.5


def test_a_weaned_student_stays_weaned() -> None:
    run = clock()
    run.change(stage=Stage.ONLINE)
    assert run.take_return(12.0, PLAYING).weaning_weight == 0.0
    assert run.take_return(1.0, PLAYING).weaning_weight == 0.0


def test_weaning_ends_with_the_students_steps() -> None:
    run = clock()
    run.change(stage=Stage.ONLINE)
    run.change(teacher_steps=7, actor_steps=99)
    assert run.progress.weaning_weight == 1.0
    run.change(teacher_steps=7, actor_steps=100)
    assert run.progress.weaning_weight == 0.0


def test_the_teachers_own_return_is_no_evaluation_of_the_student() -> None:
    run = RunClock(Progress(random_return=0.0), until_matching_teacher(wean_steps=100))
    after = run.change(teacher_return=8.0)
    assert (after.teacher_return, after.student_return, after.evaluations) == (8.0, None, 0)


def test_seconds_go_on_where_the_last_session_ended() -> None:
    run = clock()
    run.restore(run.progress, 50.0)
    assert 50.0 <= run.seconds < 60.0
