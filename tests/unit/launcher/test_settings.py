"""Settings by dotted name: the same change as `dataclasses.replace`, and errors that help."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.reincarnation.qdagger import QDaggerConfig
from rrl_agents.reincarnation.registry import METHODS
from rrl_agents.types import EnvironmentSpec
from services.launcher.experiment import Experiment
from services.launcher.experiment_config import ExperimentConfig, TeacherChoice
from services.launcher.presets import PRESETS
from services.launcher.settings import (
    decode_experiment,
    known_settings,
    nearest,
    with_settings,
)
from services.shared.errors import UserError

CONFIG = ExperimentConfig(method=QDaggerConfig())

EXAMPLES = {
    "seed": st.integers(0, 10**9),
    "online_steps": st.integers(1, 10**9),
    "method.q_learning.n_step": st.integers(1, 50),
    "method.q_learning.discount": st.floats(0.0, 0.999),
    "method.distillation.temperature": st.floats(1e-3, 10.0),
    "method.distillation.teacher_temperature": st.none() | st.floats(1e-3, 10.0),
    "network.features": st.tuples(st.integers(1, 64), st.integers(1, 64), st.integers(1, 64)),
    "network.dueling": st.booleans(),
    "environment.game": st.sampled_from(["pong", "breakout"]),
    "environment.max_episode_steps": st.none() | st.integers(1, 27_000),
    "evaluation.final_episodes": st.integers(2, 100),
    "teacher.checkpoint": st.text(min_size=1),
}


@hypothesis_settings(deadline=None, max_examples=50)
@given(
    st.fixed_dictionaries({}, optional=EXAMPLES).flatmap(lambda d: st.permutations([*d.items()]))
)
def test_what_is_set_in_any_order_is_read_back_and_nothing_else_moves(
    settings: list[tuple[str, object]],
) -> None:
    changed = with_settings(CONFIG, dict(settings))
    assert known_settings(changed) == known_settings(CONFIG) | dict(settings)
    assert ExperimentConfig(method=QDaggerConfig()) == CONFIG


@hypothesis_settings(deadline=None, max_examples=50)
@given(st.sampled_from(sorted(EXAMPLES)), st.data())
def test_a_value_of_another_type_is_refused_with_the_setting_and_the_value(
    name: str, data: st.DataObject
) -> None:
    wrong = data.draw(st.sampled_from([{}, {"a": 1}, b"1", 1j, object]))
    with pytest.raises(UserError) as refused:
        with_settings(CONFIG, {name: wrong})
    assert name in str(refused.value)
    assert repr(wrong) in str(refused.value)


def test_values_that_only_fit_each_other_are_set_together() -> None:
    # 8,000 is not a multiple of 3, and 4 divides 9 as little: neither alone is allowed.
    changed = with_settings(
        CONFIG,
        {"method.q_learning.update_period": 3, "method.q_learning.target_update_steps": 9},
    )
    assert changed.method.q_learning.target_update_period == 3


def test_a_whole_number_serves_as_a_fraction_and_a_list_as_a_tuple() -> None:
    settings = {"method.distillation.temperature": 2, "network.features": [8, 16, 16]}
    found = known_settings(with_settings(CONFIG, settings))
    assert repr([found[name] for name in settings]) == "[2.0, (8, 16, 16)]"


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("seed", True, "a whole number"),
        ("method.distillation.temperature", math.nan, "a finite number"),
        ("network.features", 8, "a list, each a whole number"),
        ("environment.max_episode_steps", 2.5, "a whole number or nothing"),
    ],
)
def test_types_are_strict(name: str, value: object, wanted: str) -> None:
    with pytest.raises(UserError, match=f"it must be {wanted}"):
        with_settings(CONFIG, {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 10**18),
        ("network.features", [8, -(10**18), 8]),
        ("method.distillation.temperature", 10**400),
    ],
)
def test_whole_numbers_that_no_array_holds_are_refused(name: str, value: object) -> None:
    with pytest.raises(UserError, match=f"{name} is .*at most 18 digits"):
        with_settings(CONFIG, {name: value})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("n_step", "method.q_learning.n_step"),
        ("method.n_step", "method.q_learning.n_step"),
        ("method.q_learning.nstep", "method.q_learning.n_step"),
        ("evaluation.episode", "evaluation.episodes"),
        ("sede", "seed"),
        ("method.distillation.tempreture", "method.distillation.temperature"),
        ("method.q-learning.batch-size", "method.q_learning.batch_size"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(name: str, meant: str) -> None:
    with pytest.raises(UserError, match="is not a setting of this experiment") as refused:
        with_settings(CONFIG, {name: 1})
    assert meant in str(refused.value)
    assert meant in nearest(name, known_settings(CONFIG))


def test_a_name_like_nothing_is_answered_with_all_there_is() -> None:
    with pytest.raises(UserError, match="there are method.q_learning.n_step, .*seed"):
        with_settings(CONFIG, {"?": 1})


@pytest.mark.parametrize("name", ["method", "method.q_learning", "network"])
def test_a_group_is_no_setting(name: str) -> None:
    with pytest.raises(UserError, match=f"'{name}' is a group of settings; .*{name}\\."):
        with_settings(CONFIG, {name: "qdagger"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", -1), ("method.distillation.temperature", 0.0), ("evaluation.epsilon", 2)],
)
def test_what_the_configs_themselves_refuse_is_the_users_error(name: str, value: object) -> None:
    with pytest.raises(UserError, match=name.rpartition(".")[2]):
        with_settings(CONFIG, {name: value})


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
        ({"random_return": None}, "field random_return is None"),
        ({"mood": "good"}, r"config\.json: unknown field mood"),
        ({"settings": {"ofline_updates": 1}}, r"field settings\.ofline_updates; did you mean offl"),
        ({"environment": {"bals": 1}}, r"unknown field environment\.bals; did you mean balls"),
        ({"environment": "catch"}, "field environment is 'catch'; it must be an object"),
    ],
)
def test_what_is_no_experiment_is_refused_by_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_experiment(noted(GIVEN) | change)


def without(content: dict[str, Any], *settings: str) -> dict[str, Any]:
    """A config.json's content as a version wrote it that had no such settings."""
    for name in settings:
        *groups, last = name.split(".")
        del functools.reduce(operator.getitem, groups, content)[last]
    return content


def test_a_run_that_is_older_than_settings_has_their_defaults() -> None:
    newer = ("teacher.play", "teacher.address", "collect_epsilon", "track", "learner")
    content = without(noted(GIVEN), *newer, "evaluation.first_seed", "settings.weaning.wean_steps")
    assert decode_experiment(content)[0] == GIVEN
    # What it has and what it had given stays: only what is missing takes its default.
    content = without(noted(GIVEN), "teacher.data_number", "seed")
    teacher = dataclasses.replace(GIVEN.teacher, data_number=None)
    assert decode_experiment(content)[0] == dataclasses.replace(GIVEN, teacher=teacher, seed=0)


def test_a_run_that_does_not_say_what_it_found_out_is_refused() -> None:
    with pytest.raises(ValueError, match=r"config\.json: field method is None; it must be a str"):
        decode_experiment(without(noted(GIVEN), "method"))
    for name in ("random_return", "teacher.data_fingerprint"):
        with pytest.raises(ValueError, match=rf"config\.json: field {name} is missing"):
            decode_experiment(without(noted(GIVEN), name))
