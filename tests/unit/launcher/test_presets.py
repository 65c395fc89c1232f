"""The presets against the tables of Agarwal et al., 2022 (arXiv:2206.01626, appendix A)."""

from __future__ import annotations

import pytest

from rrl_agents.reincarnation.qdagger import QDaggerConfig
from rrl_agents.reincarnation.registry import METHODS, make_recipe
from rrl_agents.students.registry import STUDENTS
from rrl_agents.types import Progress, Stage
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.paper_presets import PAPER_PRESETS
from services.launcher.presets import DEMO, PAPER, PRESETS, SUMMARIES, with_student
from services.launcher.settings import known_settings
from services.shared.errors import UserError

# A decision of the student is 4 frames: 10M frames are 2.5M decisions, ten iterations of 250,000.
MILLION = 1_000_000

COMMON: dict[str, object] = {
    # "Common" of the table.
    "method.q_learning.discount": 0.99,
    "method.q_learning.batch_size": 32,
    "method.q_learning.optimiser.name": "adam",
    "method.q_learning.optimiser.beta1": 0.9,
    "method.q_learning.optimiser.beta2": 0.999,
    "method.q_learning.optimiser.epsilon": 1.5e-4,
    # RMSProp's alone.
    "method.q_learning.optimiser.centered": False,
    "replay_capacity": MILLION,
    # The clocks of a DQN student.
    "method.q_learning.update_period": 4,
    "method.q_learning.target_update_steps": 8_000,
    "method.q_learning.min_replay_size": 20_000,
    # The recipe decides: 0.01 after an offline phase, else 1.
    "method.q_learning.initial_epsilon": None,
    "method.q_learning.final_epsilon": 0.01,
    "method.q_learning.epsilon_decay_steps": 50_000,
    # Nature DQN, Dopamine's.
    "network.name": "nature_cnn",
    "network.features": (32, 64, 64),
    "network.hidden_units": 512,
    "network.padding": "SAME",
    "network.head": "values",
    "network.dueling": False,
    "network.noisy": False,
    "network.width": 1,
    "student.double": False,
    "student.priority_exponent": 0.0,
    "student.random_shift": 0,
    "student.intensity_scale": 0.0,
    # The environment protocol; None stands for the environment's own 0.25 and 27,000.
    "environment.name": "atari",
    "environment.sticky_action_probability": None,
    "environment.max_episode_steps": None,
    "evaluation.epsilon": 0.001,
    # Offline iterations of 100,000 updates, online ones of 250,000 decisions, one update per 4.
    "offline_evaluation_period": 100_000,
    "online_evaluation_period": 62_500,
    "online_steps": 10 * 250_000,
    # The teacher's data is Dopamine's last replay buffer.
    "teacher_steps": MILLION,
}

QDAGGER: dict[str, object] = COMMON | {
    "method.q_learning.n_step": 3,
    "method.distillation.loss": "kl",
    "method.distillation.temperature": 0.1,
    "method.distillation.teacher_temperature": None,
    # The paper's 3 beside a DQN's loss; `training/balance.py` has it for other students.
    "method.distillation.coefficient": None,
    "method.weaning.wean_steps": 1_500_000,  # 6M frames
    "method.weaning.taught_learning_rate": 1e-4,
    "method.weaning.weaned_learning_rate": 1e-5,
    "method.offline_updates": 10 * 100_000,
}

RAINBOW: dict[str, object] = QDAGGER | {
    "method.distillation.coefficient": 1.0,
    "method.weaning.wean_steps": 2_500_000,
    "online_steps": 15 * 250_000,
    "network.head": "categorical",
    "network.num_atoms": 51,
    "network.value_bound": 10.0,
    "student.priority_exponent": 0.5,
    # Weights 1 / sqrt(p), as in Dopamine.
    "student.importance_exponent": 0.5,
}

KICKSTARTING = {name: value for name, value in QDAGGER.items() if name != "method.offline_updates"}

PRETRAINED: dict[str, object] = COMMON | {
    "method.q_learning.n_step": 1,
    "method.conservative.temperature": 0.1,
    "method.conservative.coefficient": 1.0,
    "method.conservative.offline_learning_rate": 1e-4,
    "method.conservative.online_learning_rate": 1e-5,
    "method.offline_updates": 10 * 100_000,
}

FINE_TUNING: dict[str, object] = COMMON | {
    "method.q_learning.n_step": 1,
    "method.learning_rate": 1e-5,
    "online_steps": 30 * 250_000,
    # Open in the paper; the released code's file says 250,000.
    "method.q_learning.epsilon_decay_steps": 250_000,
}

TABLE: dict[str, tuple[str, dict[str, object]]] = {
    "qdagger_dqn": ("qdagger", QDAGGER),
    "qdagger_rainbow": ("qdagger", RAINBOW),
    "qdagger_rainbow_impala": (
        "qdagger",
        RAINBOW
        | {
            "network.name": "impala_cnn",
            "network.features": (16, 32, 32),
            "network.hidden_units": 512,
        },
    ),
    "qdagger_drq": (
        "qdagger",
        QDAGGER
        | {
            "method.q_learning.n_step": 10,
            "method.q_learning.update_period": 1,
            "method.q_learning.target_update_steps": 1,
            "method.q_learning.min_replay_size": 1_600,
            "method.q_learning.epsilon_decay_steps": 5_000,
            "method.weaning.wean_steps": 2_500_000,
            "network.dueling": True,
            "student.double": True,
            "student.random_shift": 4,
            # Open in the paper; Dopamine's DrQ scales the intensity by 0.05.
            "student.intensity_scale": 0.05,
            "online_steps": 15 * 250_000,
            # An update per decision: 250,000 of them are an iteration.
            "online_evaluation_period": 250_000,
        },
    ),
    "kickstarting_dqn": ("kickstarting", KICKSTARTING),
    "dqfd_dqn": (
        "dqfd",
        COMMON
        | {
            "method.q_learning.n_step": 1,
            "method.margin": 1.0,
            "method.margin_form": "mean",
            "method.margin_coefficient": 1.0,
            "method.learning_rate": 1e-4,
            # Open in the paper; the released code's decay_period.
            "method.wean_steps": 1_500_000,
            "method.offline_updates": 10 * 100_000,
        },
    ),
    "jsrl_dqn": (
        "jsrl",
        COMMON
        | {
            "method.q_learning.n_step": 1,
            "method.roll_in_steps": 100,
            "method.roll_in_decay": 0.8,
            "method.iteration_steps": 250_000,
            # Two forms in the paper; the released code's file has the mixture.
            "method.mixture_share": 1.0,
            "method.mixture_steps": 2_500_000,
            "method.learning_rate": 6.25e-5,
        },
    ),
    "pretrained_dqn": ("offline_pretraining", PRETRAINED),
    # Within the sweep of the paper, 1/16 to 1/2.
    "rehearsal_dqn": ("rehearsal", PRETRAINED | {"method.teacher_data_share": 0.25}),
    "reloaded_dqn": ("fine_tuning", FINE_TUNING),
    "reloaded_dqn_nature": ("fine_tuning", FINE_TUNING),
}


def test_the_table_holds_every_preset_of_the_paper() -> None:
    assert TABLE.keys() == PAPER_PRESETS.keys()


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_setting_of_a_preset_is_the_papers(name: str) -> None:
    method, table = TABLE[name]
    preset = PAPER_PRESETS[name]
    assert type(preset.config.method) is METHODS[method].config_class
    assert preset.method == method
    found = known_settings(preset.config)
    assert {setting: found[setting] for setting in table} == table
    # No setting of the method is left out of the table.
    assert {setting for setting in found if setting.startswith("method.")} <= table.keys()


def test_the_environments_own_numbers_are_the_protocols() -> None:
    for preset in PAPER_PRESETS.values():
        assert preset.config.environment.sticky_actions == 0.25


def test_every_method_has_a_paper_preset_and_every_preset_a_line() -> None:
    assert PRESETS.keys() == METHODS.keys() == SUMMARIES.keys()
    for method, presets in PRESETS.items():
        assert PAPER in presets
        assert SUMMARIES[method].keys() == presets.keys()
        for config in presets.values():
            assert type(config.method) is METHODS[method].config_class
    for name, preset in PAPER_PRESETS.items():
        assert PRESETS[preset.method][name] == preset.config


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


def test_tabula_rasa_has_the_papers_numbers() -> None:
    settings = known_settings(PRESETS["tabula_rasa"][PAPER])
    expected = COMMON | {
        "method.q_learning.n_step": 1,
        "method.learning_rate": 6.25e-5,
        "teacher_steps": 0,
    }
    assert {name: settings[name] for name in expected} == expected


def test_qdaggers_schedules_follow_from_the_numbers() -> None:
    recipe = make_recipe(PAPER_PRESETS["qdagger_dqn"].config.method)
    # lr = lambda * 1e-4 + (1 - lambda) * 1e-5
    for weight, rate in ((1.0, 1e-4), (0.5, 5.5e-5), (0.0, 1e-5)):
        progress = Progress(random_return=0.0, teacher_return=1.0, weaning_weight=weight)
        assert recipe.learning_rate(progress) == pytest.approx(rate)
    # Every 8,000 decisions; offline divided by the update period as well.
    assert recipe.target_update_period(Stage.OFFLINE) == 2_000
    assert recipe.target_update_period(Stage.ONLINE) == 2_000


def test_drq_copies_to_its_target_network_after_every_update() -> None:
    recipe = make_recipe(PAPER_PRESETS["qdagger_drq"].config.method)
    assert recipe.target_update_period(Stage.OFFLINE) == 1
    assert recipe.target_update_period(Stage.ONLINE) == 1


@pytest.mark.parametrize("name", sorted(STUDENTS))
def test_a_student_is_put_into_any_preset(name: str) -> None:
    config = with_student(PRESETS["dqfd"][PAPER], name)
    assert (config.network, config.student) == (STUDENTS[name].network, STUDENTS[name].learning)
    assert config.method == PRESETS["dqfd"][PAPER].method


def test_an_unknown_student_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(UserError, match="'rainbows' is no student; use rainbow"):
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
