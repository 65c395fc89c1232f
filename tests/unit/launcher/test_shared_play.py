"""Whose play runs take, and whose they leave alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from services.evaluator.config import EvaluationProtocol
from services.evaluator.episodes import PlayedEpisodes
from services.launcher.experiment import Experiment
from services.launcher.experiment_config import TeacherChoice
from services.launcher.resolution import resolve
from services.launcher.shared_play import SharedPlay
from services.replay.local_table import LocalTable
from tests.support.experiments import catch_config

PLAYED = PlayedEpisodes(returns=(1.0,), steps=(9,), first_episode_frames=())


@pytest.fixture
def experiment(catch_teacher: Path) -> Experiment:
    return resolve(catch_config(catch_teacher, teacher_steps=100))


def changed(experiment: Experiment, **changes: Any) -> Experiment:
    return dataclasses.replace(experiment, config=dataclasses.replace(experiment.config, **changes))


def test_runs_share_a_table_that_has_room_for_the_same_items(
    experiment: Experiment, tmp_path: Path
) -> None:
    def taken(capacity: int) -> bool:
        play = SharedPlay(tmp_path, changed(experiment, replay_capacity=capacity))
        return play.take_table(LocalTable(experiment.layout, capacity))

    assert not taken(100)
    SharedPlay(tmp_path, experiment).leave_table(LocalTable(experiment.layout, 100))
    # 200 hold all 100 steps, too; 99 do not.
    assert [taken(capacity) for capacity in (100, 200, 99)] == [True, True, False]


def test_one_run_plays_and_others_wait_until_it_is_done_or_closed(
    experiment: Experiment, tmp_path: Path
) -> None:
    first, second, third = (SharedPlay(tmp_path, experiment) for _ in range(3))
    assert [play.claims_table() for play in (first, second, first)] == [True, False, True]
    first.close()
    assert [play.claims_table() for play in (second, third)] == [True, False]
    second.leave_table(LocalTable(experiment.layout, 100))
    assert third.claims_table() and third.take_table(LocalTable(experiment.layout, 100))


def test_one_run_plays_an_evaluation_with_fixed_seeds(
    experiment: Experiment, tmp_path: Path
) -> None:
    def claims(experiment: Experiment) -> list[bool]:
        plays = [SharedPlay(tmp_path, experiment) for _ in range(2)]
        claimed = [play.claims_evaluation() for play in plays]
        plays[0].leave_evaluation(PLAYED)
        return [*claimed, plays[1].claims_evaluation()]

    assert claims(experiment) == [True, True, True]
    seeded = changed(experiment, evaluation=EvaluationProtocol(first_seed=0))
    assert claims(seeded) == [True, False, True]


def test_an_evaluation_without_fixed_seeds_is_not_shared(
    experiment: Experiment, tmp_path: Path
) -> None:
    play = SharedPlay(tmp_path, experiment)
    play.leave_evaluation(PLAYED)
    assert (play.evaluation(), [*tmp_path.iterdir()]) == (None, [])
    seeded = changed(experiment, evaluation=EvaluationProtocol(first_seed=0))
    SharedPlay(tmp_path, seeded).leave_evaluation(PLAYED)
    assert SharedPlay(tmp_path, seeded).evaluation() == PLAYED


def test_a_table_is_filled_from_one_source() -> None:
    with pytest.raises(ValueError, match=r"teacher\.data or by its play .*give one"):
        TeacherChoice(data="recorded", play="shared")
