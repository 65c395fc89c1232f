"""The presets against the files and defaults of the code released with Agarwal et al., 2022.

`tests/oracles/record_released_methods.py` has recorded these.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rrl_agents.reincarnation.qdagger import QDaggerConfig
from rrl_agents.reincarnation.registry import METHODS, make_recipe
from rrl_agents.students.registry import STUDENTS
from rrl_agents.training.balance import balanced_coefficient
from rrl_agents.types import Progress
from services.cli.gin.names import PARAMETERS
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.presets import (
    DEMO,
    NAMED_PRESETS,
    PAPER,
    PAPER_PRESETS,
    PRESETS,
    with_student,
)
from services.launcher.settings import known_settings
from services.shared.errors import UserError

RELEASED: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "oracles" / "released_methods.json").read_text()
)
"""What the released code's files bind, and its defaults, as gin and Python read them."""

# A file of the released code, where there is one of that name, -> the classes it is for.
CLASSES: dict[str, tuple[str, ...]] = {
    "qdagger_dqn": ("JaxDQNAgent", "QDaggerDQNAgent", "create_pretraining_optimizer"),
    "kickstarting_dqn": ("JaxDQNAgent", "QDaggerDQNAgent", "create_pretraining_optimizer"),
    "qdagger_rainbow": (
        "JaxDQNAgent",
        "JaxFullRainbowAgent",
        "QDaggerRainbowAgent",
        "create_pretraining_optimizer",
    ),
    "qdagger_drq": (
        "JaxDQNAgent",
        "JaxFullRainbowAgent",
        "QDaggerRainbowAgent",
        "create_pretraining_optimizer",
    ),
    "dqfd_dqn": ("JaxDQNAgent", "DQfDAgent", "create_pretraining_optimizer"),
    "jsrl_dqn": ("JaxDQNAgent", "JSRLAgent", "create_optimizer"),
    "pretrained_dqn": ("JaxDQNAgent", "PretrainedDQNAgent", "create_pretraining_optimizer"),
    "reloaded_dqn": ("JaxDQNAgent", "create_optimizer"),
    "reloaded_dqn_nature": ("JaxDQNAgent", "create_optimizer"),
}

# The released Nature DQN file continues with RMSProp, the paper's fine-tuning with Adam.
THE_PAPERS = {
    "reloaded_dqn_nature": {
        "method.q_learning.optimiser.name",
        "method.q_learning.optimiser.epsilon",
        "method.q_learning.optimiser.beta2",
        "method.q_learning.optimiser.centered",
    }
}


def _says(name: str) -> dict[str, Any]:
    """What a released experiment's configurables are given: defaults, then the file's bindings."""
    defaults = {
        parameter: value
        for parameter, value in RELEASED["defaults"].items()
        if parameter.partition(".")[0] in CLASSES[name]
    }
    bound = {
        parameter.removeprefix("atari_lib."): value
        for parameter, value in RELEASED["files"][name].items()
    }
    return defaults | bound


def _found(name: str) -> dict[str, Any]:
    """The preset's settings; the distillation's coefficient is the one its student gets."""
    config = PAPER_PRESETS[name].config
    found = known_settings(config)
    for term in make_recipe(config.method).terms:
        if term.name == "distillation":
            found["method.distillation.coefficient"] = balanced_coefficient(
                term, config.network, config.student
            )
    return found


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_preset_has_the_numbers_of_the_released_file(name: str) -> None:
    said, found = _says(name), _found(name)
    compared = set()
    for parameter, value in said.items():
        # What gin's names are here; a method has the first that it knows.
        how = PARAMETERS.get(parameter)
        setting = next((one for one in how.settings if one in found), None) if how else None
        if how is None or setting is None or setting.startswith("environment."):
            continue
        if setting not in THE_PAPERS.get(name, ()):
            expected = how.choices[value] if how.choices else value
            assert found[setting] == expected, (parameter, setting)
        compared.add(setting)
    compared |= _compared_otherwise(said, found)
    # No setting of the method is left out, but for those that only we have.
    own = {"method.q_learning.initial_epsilon", "method.distillation.teacher_temperature"}
    rest = {setting for setting in found if setting.startswith("method.")} - compared - own
    assert rest <= {"method.iteration_steps"}


def _compared_otherwise(said: dict[str, Any], found: dict[str, Any]) -> set[str]:
    """What is said in another form."""
    per_update = said["JaxDQNAgent.update_period"]
    iteration, iterations = said["Runner.training_steps"], said["Runner.num_iterations"]
    assert found["online_steps"] == iterations * iteration
    if "method.iteration_steps" not in found:
        # JSRL's iterations in docs/methods.md, "Differences from the released code".
        assert found["online_evaluation_period"] * per_update == iteration
    compared = set()
    offline = said.get("RunnerWithTeacher.num_pretraining_iterations", 0)
    updates = offline * said.get("RunnerWithTeacher.num_pretraining_steps", 0)
    assert found.get("method.offline_updates", 0) == updates
    compared.add("method.offline_updates")
    if updates:
        assert found["offline_evaluation_period"] * offline == updates
        assert found["method.q_learning.n_step"] == said.get("TeacherDQNAgent.update_horizon", 1)
    for form in ("QDaggerDQNAgent", "QDaggerRainbowAgent"):
        if f"{form}.distill_best_action_only" in said:
            # 1 is DistillType.POLICY_ONLY; Rainbow has no other.
            assert said.get(f"{form}.distill_type", 1) == 1
            assert not said[f"{form}.distill_best_action_only"]
            assert found["method.distillation.loss"] == "kl"
            compared.add("method.distillation.loss")
    if "method.teacher_data_share" in found:
        # Ours alone: the released agents learn online from their own replay.
        assert found["method.teacher_data_share"] == 0.0
        compared.add("method.teacher_data_share")
    if "DQfDAgent.dqfd_margin" in said:
        assert found["method.margin_form"] == ("max" if said["DQfDAgent.dqfd_margin"] else "mean")
        assert said["DQfDAgent.use_teacher_actions"] and not said["DQfDAgent.lr_decay"]
        compared.add("method.margin_form")
    if "JSRLAgent.max_roll_in_steps" in said:
        assert found["method.roll_in_steps"] == said["JSRLAgent.max_roll_in_steps"]
        compared.add("method.roll_in_steps")
    if "JaxFullRainbowAgent.replay_scheme" in said:
        prioritised = said["JaxFullRainbowAgent.replay_scheme"] == "prioritized"
        assert (found["student.priority_exponent"] > 0.0) == prioritised
        is_categorical = found["network.head"] == "categorical"
        assert is_categorical == said["JaxFullRainbowAgent.distributional"]
        if is_categorical:
            assert found["network.num_atoms"] == said["JaxFullRainbowAgent.num_atoms"]
            assert found["network.value_bound"] == said["JaxFullRainbowAgent.vmax"]
    augmented = any(
        said.get(f"Reincarnation{a}Agent.data_augmentation") for a in ("DQN", "Rainbow")
    )
    assert (found["student.random_shift"] > 0) == augmented
    return compared


def test_presets_without_a_released_file_are_those_with_one_but_for_a_word() -> None:
    rainbow, impala = _found("qdagger_rainbow"), _found("qdagger_rainbow_impala")
    differing = {name for name in rainbow if rainbow[name] != impala.get(name)}
    assert all(name.startswith("network.") for name in differing)
    assert impala["network.name"] == "impala_cnn"
    pretrained, rehearsal = _found("pretrained_dqn"), _found("rehearsal_dqn")
    # Within the paper's sweep, 1/16 to 1/2.
    assert 1 / 16 <= rehearsal.pop("method.teacher_data_share") <= 1 / 2
    assert rehearsal == pretrained
    assert PAPER_PRESETS.keys() - CLASSES.keys() == {"qdagger_rainbow_impala", "rehearsal_dqn"}


@pytest.mark.parametrize("name", sorted(PAPER_PRESETS))
def test_a_presets_student_is_the_one_it_is_named_after(name: str) -> None:
    # Those of "reloaded_dqn" and of "reloaded_dqn_nature" have the teacher's network in the end.
    student = STUDENTS[name.removesuffix("_nature").partition("_")[2]]
    config = PAPER_PRESETS[name].config
    assert (config.network, config.student) == (student.network, student.learning)


def test_the_papers_presets_leave_one_replay_buffer_of_data_of_the_papers_environment() -> None:
    for preset in PAPER_PRESETS.values():
        assert preset.config.teacher_steps == preset.config.replay_capacity
        assert preset.config.environment.sticky_actions == 0.25


def test_every_method_has_a_paper_preset_and_every_preset_a_line() -> None:
    assert PRESETS.keys() == METHODS.keys()
    for method, presets in NAMED_PRESETS.items():
        assert PAPER in presets
        for preset in presets.values():
            assert type(preset.config.method) is METHODS[method].config_class
            assert preset.summary
    for name, preset in PAPER_PRESETS.items():
        assert NAMED_PRESETS[preset.method][name] is preset


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("qdagger", "qdagger_dqn"),
        ("kickstarting", "kickstarting_dqn"),
        ("dqfd", "dqfd_dqn"),
        ("rehearsal", "rehearsal_dqn"),
        ("offline_pretraining", "pretrained_dqn"),
        ("fine_tuning", "reloaded_dqn"),
    ],
)
def test_a_methods_paper_preset_is_that_of_its_dqn_student(method: str, name: str) -> None:
    assert PRESETS[method][PAPER] == PRESETS[method][name]


def test_the_ablations_differ_from_qdagger_in_the_method_alone() -> None:
    qdagger = known_settings(PRESETS["qdagger"][PAPER])
    weaned = {name for name in qdagger if name.startswith("method.weaning.")}
    for ablation in ("dagger", "ql_dagger"):
        settings = known_settings(PRESETS[ablation][PAPER])
        # Lambda stays 1, and with it the learning rate.
        assert (
            settings.pop("method.learning_rate") == qdagger["method.weaning.taught_learning_rate"]
        )
        assert settings == {name: qdagger[name] for name in qdagger.keys() - weaned}


def test_tabula_rasa_is_the_dqn_that_the_released_methods_are_built_on() -> None:
    # The paper's "DQN (Adam)": the clocks and the optimiser of its Q-learning baselines.
    settings, jsrl = known_settings(PRESETS["tabula_rasa"][PAPER]), _found("jsrl_dqn")
    shared = [name for name in settings if name.startswith(("method.q_learning.", "network."))]
    assert {name: settings[name] for name in shared} == {name: jsrl[name] for name in shared}
    default = RELEASED["defaults"]["create_optimizer.learning_rate"]
    assert settings["method.learning_rate"] == default
    assert settings["teacher_steps"] == 0


def test_qdaggers_schedules_follow_from_the_numbers() -> None:
    recipe = make_recipe(PAPER_PRESETS["qdagger_dqn"].config.method)
    # lr = lambda * 1e-4 + (1 - lambda) * 1e-5
    for weight, rate in ((1.0, 1e-4), (0.5, 5.5e-5), (0.0, 1e-5)):
        progress = Progress(random_return=0.0, teacher_return=1.0, weaning_weight=weight)
        assert recipe.learning_rate(progress) == pytest.approx(rate)
    # Every 8,000 decisions; offline divided by the update period as well.
    assert recipe.q_learning.target_update_period == 2_000


@pytest.mark.parametrize("name", sorted(STUDENTS))
def test_a_student_is_put_into_any_preset(name: str) -> None:
    config = with_student(PRESETS["dqfd"][PAPER], name)
    assert (config.network, config.student) == (STUDENTS[name].network, STUDENTS[name].learning)
    assert config.method == PRESETS["dqfd"][PAPER].method


def test_an_unknown_student_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(UserError, match="'rainbows' is not a student; use rainbow"):
        with_student(PRESETS["qdagger"][PAPER], "rainbows")


def test_the_demos_play_the_same_game_for_as_many_updates() -> None:
    qdagger, baseline = PRESETS["qdagger"][DEMO], PRESETS["tabula_rasa"][DEMO]
    assert isinstance(qdagger.method, QDaggerConfig)
    # The report draws one beside the other.
    assert qdagger.environment == baseline.environment
    assert qdagger.network == baseline.network
    assert qdagger.evaluation == baseline.evaluation
    # Offline updates cost as much as online ones: a baseline with fewer would be a straw man.
    assert updates(baseline) == updates(qdagger)


def updates(config: ExperimentConfig) -> int:
    recipe = make_recipe(config.method)
    learned_from = config.online_steps - recipe.q_learning.min_replay_size
    return recipe.offline_updates + learned_from // recipe.q_learning.update_period


def test_every_method_has_a_preset_for_small_environments_of_one_budget() -> None:
    for method in METHODS:
        config = PRESETS[method]["small"]
        assert make_recipe(config.method).name == method
        assert config.one_process
        assert config.teacher_steps + config.online_steps == 20_000
        assert config.method.q_learning.min_replay_size < config.online_steps
