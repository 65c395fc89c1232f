from __future__ import annotations

import dataclasses

import pytest

from rrl_agents.types import Progress, Stage
from services.learner.stage_transitions import StageTargets, next_stage

TARGETS = StageTargets(teacher_steps=100, offline_updates=10, online_updates=20)


def stage_of(last_evaluation_done: bool = False, **clocks: object) -> Stage:
    progress = dataclasses.replace(Progress(random_return=0.0, teacher_return=1.0), **clocks)  # type: ignore[arg-type]
    return next_stage(progress, TARGETS, last_evaluation_done=last_evaluation_done)


def test_the_teacher_plays_until_its_table_is_full() -> None:
    assert stage_of(teacher_steps=99) is Stage.COLLECT
    assert stage_of(teacher_steps=100) is Stage.OFFLINE


def test_no_update_is_made_before_the_teachers_return_is_known() -> None:
    assert stage_of(teacher_steps=100, teacher_return=None) is Stage.COLLECT


def test_each_stage_ends_at_its_own_clock() -> None:
    assert stage_of(stage=Stage.OFFLINE, offline_updates=9) is Stage.OFFLINE
    assert stage_of(stage=Stage.OFFLINE, offline_updates=10) is Stage.ONLINE
    assert stage_of(stage=Stage.ONLINE, online_updates=19) is Stage.ONLINE
    assert stage_of(stage=Stage.ONLINE, online_updates=20) is Stage.FINAL_EVALUATION
    assert stage_of(stage=Stage.FINAL_EVALUATION) is Stage.FINAL_EVALUATION
    assert stage_of(stage=Stage.FINAL_EVALUATION, last_evaluation_done=True) is Stage.FINISHED


def test_a_method_without_an_offline_stage_goes_straight_to_its_own_play() -> None:
    targets = StageTargets(teacher_steps=0, offline_updates=0, online_updates=20)
    progress = Progress(random_return=0.0, teacher_return=1.0)
    assert next_stage(progress, targets, last_evaluation_done=False) is Stage.ONLINE


def test_a_run_never_goes_back() -> None:
    assert stage_of(stage=Stage.ONLINE, teacher_steps=0, offline_updates=0) is Stage.ONLINE
    assert stage_of(stage=Stage.FINISHED) is Stage.FINISHED


def test_offline_updates_without_the_teachers_data_are_refused() -> None:
    with pytest.raises(ValueError, match="set teacher_steps above 0"):
        StageTargets(teacher_steps=0, offline_updates=1, online_updates=1)


def test_negative_targets_are_refused() -> None:
    with pytest.raises(ValueError, match="online_updates is -1; use a number at least 0"):
        StageTargets(teacher_steps=0, offline_updates=0, online_updates=-1)
