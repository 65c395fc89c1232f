from __future__ import annotations

import dataclasses
from pathlib import Path

from rrl_agents.checkpoints.teacher_directory import load_teacher_directory
from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.registry import NetworkConfig
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig
from services.bench.stand_in import make_stand_in
from services.launcher.experiment_config import ExperimentConfig

CONFIG = ExperimentConfig(
    method=TabulaRasaConfig(),
    environment=EnvironmentConfig(name="catch"),
    network=NetworkConfig(name="mlp", features=(8,)),
)


def test_a_stand_in_has_the_teachers_shapes_and_a_score_above_chance(tmp_path: Path) -> None:
    make_stand_in(tmp_path / "catch", CONFIG)
    teacher = load_teacher_directory(tmp_path / "catch")
    assert (teacher.card.game, teacher.card.num_actions) == ("catch", 3)
    assert teacher.card.network == CONFIG.network
    assert teacher.card.score is not None
    # One above the random policy's -0.6.
    assert teacher.card.score.mean_return == 0.4


def test_a_suite_that_has_changed_gets_another_stand_in(tmp_path: Path) -> None:
    make_stand_in(tmp_path / "catch", CONFIG)
    wider = dataclasses.replace(CONFIG.network, features=(16,))
    make_stand_in(tmp_path / "catch", dataclasses.replace(CONFIG, network=wider))
    assert load_teacher_directory(tmp_path / "catch").card.network == wider
    assert [path.name for path in tmp_path.iterdir()] == ["catch"]
