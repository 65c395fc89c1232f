"""The config.json of every experiment gives that very experiment back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.reincarnation.registry import METHODS
from rrl_agents.types import EnvironmentSpec
from services.launcher.experiment import Experiment
from services.launcher.experiment_config import ExperimentConfig, TeacherChoice
from services.launcher.presets import PRESETS
from services.launcher.recorded_experiment import decode_experiment

SPEC = EnvironmentSpec(
    name="pong",
    frame_shape=(84, 84),
    stack_size=4,
    num_actions=6,
    frames_per_step=4,
    max_episode_steps=27_000,
)
CONFIGS = {
    **{
        f"{name} by default": ExperimentConfig(method=METHODS[name].config_class())
        for name in METHODS
    },
    **{f"{name} {preset}": one for name, named in PRESETS.items() for preset, one in named.items()},
}
GIVEN = ExperimentConfig(
    method=METHODS["qdagger"].config_class(),
    environment=EnvironmentConfig(name="catch", balls=3),
    teacher=TeacherChoice(checkpoint=None, mean_return=0.5, data="data", data_number=3),
    seed=2**32 - 1,
)


def noted(config: ExperimentConfig) -> dict[str, Any]:
    experiment = Experiment(config=config, spec=SPEC, card=None, random_return=-20.7)
    content: dict[str, Any] = json.loads(experiment.to_json())
    return content


@pytest.mark.parametrize("name", CONFIGS)
def test_every_methods_and_presets_experiment_is_read_back(name: str) -> None:
    config, found = decode_experiment(noted(CONFIGS[name]))
    assert config == CONFIGS[name]
    assert (found.method, found.random_return) == (name.split()[0], -20.7)


def test_a_given_return_of_the_teacher_is_kept_apart_from_the_one_in_force() -> None:
    assert decode_experiment(noted(GIVEN))[0] == GIVEN
    # Its return, 0.5, was found out here.
    left = dataclasses.replace(GIVEN.teacher, mean_return=None)
    content = {**noted(GIVEN), "teacher": {**noted(GIVEN)["teacher"], "mean_return": None}}
    assert decode_experiment(content)[0] == dataclasses.replace(GIVEN, teacher=left)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "alchemy"}, "method is 'alchemy'; known are qdagger"),
        ({"seed": -1}, "seed must be 0 to"),
        ({"seed": 1.5}, r"config\.json: field seed is 1\.5; it must be a whole number"),
        ({"settings": {}}, r"field settings\.\w+ is missing"),
        ({"environment": {"name": "catch"}}, r"field environment\.game is missing"),
        ({"random_return": None}, "field random_return is None"),
    ],
)
def test_what_is_no_experiment_is_refused_by_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_experiment(noted(GIVEN) | change)


def test_a_setting_that_is_missing_is_named() -> None:
    content = noted(GIVEN)
    del content["num_actors"]
    with pytest.raises(ValueError, match="field num_actors is missing"):
        decode_experiment(content)
