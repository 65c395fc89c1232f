from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig
from services.bench.collecting import reference_row
from services.launcher.experiment import Experiment
from services.launcher.experiment_config import ExperimentConfig, TeacherChoice
from services.launcher.resolution import resolve
from tests.support.bench_rows import record


@pytest.fixture
def experiment(catch_teacher: Path) -> Experiment:
    config = ExperimentConfig(
        method=TabulaRasaConfig(),
        environment=EnvironmentConfig(name="catch"),
        teacher=TeacherChoice(checkpoint=str(catch_teacher)),
        online_steps=100_000,
    )
    return resolve(config)


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


def test_a_score_in_the_suites_settings_goes_before_any_other(experiment: Experiment) -> None:
    teacher = dataclasses.replace(experiment.config.teacher, mean_return=0.5)
    config = dataclasses.replace(experiment.config, teacher=teacher)
    row = reference_row("catch", dataclasses.replace(experiment, config=config), [record(0, 1.0)])
    assert row is not None
    assert (row.teacher_return, row.teacher_episodes) == (0.5, None)
    assert row.teacher_source == "given in the suite's settings"
