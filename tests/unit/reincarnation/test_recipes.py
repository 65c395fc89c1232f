"""What each recipe does with its settings, worked by hand.

That the settings are those of the paper's experiments is checked against the released code, in
`tests/contracts/test_released_methods.py` and `tests/unit/launcher/test_presets.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.reincarnation.dqfd import DqfdConfig, dqfd
from rrl_agents.reincarnation.fine_tuning import FineTuningConfig, fine_tuning
from rrl_agents.reincarnation.jsrl import JsrlConfig, jsrl
from rrl_agents.reincarnation.offline_pretraining import (
    ConservativeConfig,
    OfflinePretrainingConfig,
    RehearsalConfig,
    offline_pretraining,
    rehearsal,
)
from rrl_agents.reincarnation.qdagger import (
    DaggerConfig,
    KickstartingConfig,
    QDaggerConfig,
    QlDaggerConfig,
    WeaningConfig,
    dagger,
    kickstarting,
    qdagger,
    ql_dagger,
)
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.registry import MethodConfig, make_recipe
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig, tabula_rasa
from rrl_agents.reincarnation.terms import DistillationConfig
from rrl_agents.students.config import StudentConfig
from rrl_agents.training.optimiser_config import OptimiserConfig
from rrl_agents.training.q_learning_config import QLearningConfig
from rrl_agents.types import Progress, Stage

DQN = (NetworkConfig(), StudentConfig())
ONLINE = Progress(random_return=-20.0, teacher_return=20.0, stage=Stage.ONLINE)


def test_qdagger_distils_with_full_weight_offline_on_the_teachers_data() -> None:
    recipe = qdagger(QDaggerConfig())
    offline = dataclasses.replace(ONLINE, stage=Stage.OFFLINE, online_return=10.0)
    assert recipe.weaning_weight(offline) == 1.0
    assert recipe.term_weights(offline, *DQN) == {"td": 1.0, "distillation": 3.0}
    assert (recipe.learning_rate(offline), recipe.teacher_share(offline)) == (1e-4, 1.0)
    assert (recipe.q_learning.n_step, recipe.offline_updates) == (3, 1_000_000)
    # 8,000 agent steps at one update per 4 are 2,000 updates, in both stages.
    assert recipe.q_learning.target_update_period == 2_000


def test_qdagger_weans_online_by_the_score_on_the_students_data() -> None:
    recipe = qdagger(QDaggerConfig())
    halfway = dataclasses.replace(ONLINE, online_return=0.0)
    progress = dataclasses.replace(halfway, weaning_weight=recipe.weaning_weight(halfway))
    # Score 1/2: lambda 1/2, distillation 3 / 2, rate (1e-4 + 1e-5) / 2.
    assert recipe.term_weights(progress, *DQN) == {"td": 1.0, "distillation": 1.5}
    assert recipe.learning_rate(progress) == pytest.approx(5.5e-5)
    assert recipe.teacher_share(progress) == 0.0
    assert recipe.needs_teacher(progress)


def test_tabula_rasa_is_one_step_q_learning_without_a_teacher() -> None:
    recipe = tabula_rasa(TabulaRasaConfig())
    assert recipe.term_weights(ONLINE, *DQN) == {"td": 1.0}
    assert recipe.learning_rate(ONLINE) == pytest.approx(6.25e-5)
    assert (recipe.q_learning.n_step, recipe.offline_updates) == (1, 0)
    assert recipe.weaning_weight(ONLINE) == 0.0
    assert not recipe.needs_teacher(ONLINE)


def test_kickstarting_is_qdagger_without_its_offline_stage() -> None:
    recipe, original = kickstarting(KickstartingConfig()), qdagger(QDaggerConfig())
    assert (recipe.offline_updates, recipe.needs_teacher_data) == (0, False)
    for online_return in (None, 0.0, 30.0):
        progress = dataclasses.replace(ONLINE, online_return=online_return)
        assert recipe.weaning_weight(progress) == original.weaning_weight(progress)
        assert recipe.term_weights(progress, *DQN) == original.term_weights(progress, *DQN)
        assert recipe.learning_rate(progress) == original.learning_rate(progress)


@pytest.mark.parametrize(
    ("recipe", "td"), [(dagger(DaggerConfig()), 0.0), (ql_dagger(QlDaggerConfig()), 1.0)]
)
def test_neither_score_nor_time_weans_an_ablation(recipe: Recipe, td: float) -> None:
    better = dataclasses.replace(ONLINE, online_return=30.0, actor_steps=10**8)
    assert recipe.weaning_weight(better) == 1.0
    assert recipe.term_weights(better, *DQN) == {"td": td, "distillation": 3.0}
    assert (recipe.learning_rate(better), recipe.offline_updates) == (1e-4, 1_000_000)
    assert recipe.needs_teacher(better)


def test_dqfd_weans_the_margin_by_the_score() -> None:
    recipe = dqfd(DqfdConfig())
    # Score 1/2.
    halfway = dataclasses.replace(ONLINE, online_return=0.0)
    progress = dataclasses.replace(halfway, weaning_weight=recipe.weaning_weight(halfway))
    assert recipe.term_weights(progress, *DQN) == {"td": 1.0, "margin": 0.5}
    assert recipe.learning_rate(progress) == 1e-4
    assert recipe.q_learning.n_step == 1 and recipe.offline_updates == 1_000_000


def test_jsrl_lets_the_teacher_begin_with_a_horizon_that_shrinks_each_iteration() -> None:
    recipe = jsrl(JsrlConfig())
    assert recipe.guide is not None
    # 100 x 0.8 = 80, x 0.8 = 64, x 0.8 = 51.2, rounded down.
    horizons = [recipe.guide.horizon(250_000 * iteration) for iteration in range(4)]
    assert horizons == [100, 80, 64, 51]
    assert recipe.guide.share(0) == 0.0
    assert recipe.term_weights(ONLINE, *DQN) == {"td": 1.0}
    assert recipe.learning_rate(ONLINE) == 6.25e-5
    assert not recipe.needs_teacher(ONLINE) and recipe.teacher_acts(actor_steps=0)


@pytest.mark.parametrize(
    ("build", "config_class"),
    [(qdagger, QDaggerConfig), (dagger, DaggerConfig), (ql_dagger, QlDaggerConfig)],
)
def test_students_of_qdagger_learn_online_from_their_own_data_but_for_a_share_that_is_asked_for(
    build: Callable[[Any], Recipe], config_class: Any
) -> None:
    configs = (config_class(), config_class(teacher_data_share=0.25))
    assert [build(config).teacher_share(ONLINE) for config in configs] == [0.0, 0.25]


def test_jsrls_mixture_falls_along_a_line_over_two_and_a_half_million_steps() -> None:
    guide = jsrl(JsrlConfig(mixture_share=1.0)).guide
    assert guide is not None
    assert [guide.share(s) for s in (0, 625_000, 2_500_000, 3_000_000)] == [1.0, 0.75, 0.0, 0.0]


@pytest.mark.parametrize(
    ("recipe", "online_share"),
    [
        (offline_pretraining(OfflinePretrainingConfig()), 0.0),
        (rehearsal(RehearsalConfig(teacher_data_share=1 / 16)), 1 / 16),
    ],
)
def test_pretraining_is_conservative_offline_and_plain_online(
    recipe: Recipe, online_share: float
) -> None:
    offline = dataclasses.replace(ONLINE, stage=Stage.OFFLINE)
    assert recipe.term_weights(offline, *DQN) == {"td": 1.0, "conservative": 1.0}
    assert recipe.term_weights(ONLINE, *DQN) == {"td": 1.0, "conservative": 0.0}
    assert (recipe.learning_rate(offline), recipe.learning_rate(ONLINE)) == (1e-4, 1e-5)
    assert (recipe.teacher_share(offline), recipe.teacher_share(ONLINE)) == (1.0, online_share)
    assert recipe.fresh_optimiser_online
    assert not recipe.needs_teacher(ONLINE)


def test_fine_tuning_starts_from_the_teachers_weights_and_data() -> None:
    recipe = fine_tuning(FineTuningConfig())
    assert recipe.initial_weights == "teacher" and recipe.warm_starts_replay
    assert recipe.learning_rate(ONLINE) == 1e-5
    assert not recipe.needs_teacher_data


@pytest.mark.parametrize(
    "recipe",
    [
        qdagger(QDaggerConfig()),
        # Shorter than the decay of 50,000 steps: that there is an offline stage is what counts.
        qdagger(QDaggerConfig(offline_updates=1)),
        dagger(DaggerConfig()),
        ql_dagger(QlDaggerConfig()),
        dqfd(DqfdConfig()),
        offline_pretraining(OfflinePretrainingConfig()),
        rehearsal(RehearsalConfig()),
        fine_tuning(FineTuningConfig()),
    ],
    ids=lambda recipe: f"{recipe.name}-{recipe.offline_updates}",
)
def test_a_student_that_can_already_play_explores_little_from_its_first_step(
    recipe: Recipe,
) -> None:
    epsilon = recipe.exploration(noisy=False)
    assert {epsilon(steps) for steps in (0, 1, 20_000, 10**6)} == {0.01}


@pytest.mark.parametrize(
    "recipe",
    [
        kickstarting(KickstartingConfig()),
        jsrl(JsrlConfig()),
        qdagger(QDaggerConfig(offline_updates=0)),
    ],
    ids=lambda recipe: recipe.name,
)
def test_without_an_offline_stage_exploration_falls_from_the_first_step(recipe: Recipe) -> None:
    epsilon = recipe.exploration(noisy=False)
    # 0.01 + 0.99 (50,000 - steps) / 50,000: halfway 0.505.
    assert [epsilon(steps) for steps in (0, 25_000, 50_000, 70_000)] == pytest.approx(
        [1.0, 0.505, 0.01, 0.01]
    )


def test_tabula_rasa_explores_as_dopamines_dqn() -> None:
    from dopamine.jax.agents.dqn import dqn_agent

    epsilon = tabula_rasa(TabulaRasaConfig()).exploration(noisy=False)
    for steps in (0, 20_000, 20_001, 45_000, 70_000, 10**6):
        expected = dqn_agent.linearly_decaying_epsilon(50_000, steps, 20_000, 0.01)
        assert epsilon(steps) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize(
    "config", [TabulaRasaConfig(), QDaggerConfig(), JsrlConfig(), FineTuningConfig()]
)
def test_noisy_students_explore_by_their_noise_alone(config: MethodConfig) -> None:
    from dopamine.jax.agents.full_rainbow import full_rainbow_agent

    epsilon = make_recipe(config).exploration(noisy=True)
    for steps in (0, 25_000, 10**6):
        # Dopamine's Rainbow takes this schedule where its network is noisy.
        assert epsilon(steps) == full_rainbow_agent.zero_epsilon(50_000, steps, 20_000, 0.01)


def test_an_initial_epsilon_that_is_given_counts() -> None:
    explores = QLearningConfig(initial_epsilon=0.5, epsilon_decay_steps=100)
    epsilon = qdagger(QDaggerConfig(q_learning=explores)).exploration(noisy=False)
    # Halfway from 0.5 to 0.01.
    assert [epsilon(steps) for steps in (0, 50, 100)] == pytest.approx([0.5, 0.255, 0.01])


@pytest.mark.parametrize(
    ("config_class", "settings"),
    [
        (QDaggerConfig, {"offline_updates": -1}),
        (DistillationConfig, {"temperature": 0.0}),
        (DistillationConfig, {"teacher_temperature": 0.0}),
        (WeaningConfig, {"wean_steps": -1}),
        (QDaggerConfig, {"distillation": DistillationConfig(coefficient=-1.0)}),
        (QDaggerConfig, {"weaning": WeaningConfig(weaned_learning_rate=-1e-4)}),
        (JsrlConfig, {"roll_in_steps": -1}),
        (JsrlConfig, {"roll_in_decay": 1.0}),
        (JsrlConfig, {"iteration_steps": 0}),
        (JsrlConfig, {"mixture_share": 1.5}),
        (JsrlConfig, {"mixture_steps": 0}),
        (FineTuningConfig, {"learning_rate": 0.0}),
        (TabulaRasaConfig, {"learning_rate": -1.0}),
        (DqfdConfig, {"learning_rate": 0.0}),
        (DqfdConfig, {"margin": -1.0}),
        (DqfdConfig, {"wean_steps": -1}),
        (OfflinePretrainingConfig, {"conservative": ConservativeConfig(online_learning_rate=0.0)}),
        (ConservativeConfig, {"temperature": 0.0}),
        (RehearsalConfig, {"teacher_data_share": 0.0}),
        (RehearsalConfig, {"teacher_data_share": 1.0}),
        (QDaggerConfig, {"teacher_data_share": -0.1}),
        (QDaggerConfig, {"teacher_data_share": 1.0}),
        (OptimiserConfig, {"beta1": 1.0}),
        (OptimiserConfig, {"beta2": -0.1}),
        (OptimiserConfig, {"epsilon": 0.0}),
        (QLearningConfig, {"n_step": 0}),
        (QLearningConfig, {"discount": 1.0}),
        (QLearningConfig, {"batch_size": 0}),
        (QLearningConfig, {"final_epsilon": -0.1}),
        (QLearningConfig, {"initial_epsilon": 1.5}),
        (QLearningConfig, {"target_update_steps": 6}),
        (QLearningConfig, {"epsilon_decay_steps": 0}),
        (QLearningConfig, {"min_replay_size": 0}),
    ],
)
def test_settings_without_a_meaning_are_refused_at_the_latest_with_the_recipe(
    config_class: type[Any], settings: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="; use "):
        make_recipe(config_class(**settings))


def test_terms_of_one_name_are_refused() -> None:
    recipe = tabula_rasa(TabulaRasaConfig())
    with pytest.raises(ValueError, match="all different"):
        dataclasses.replace(recipe, terms=recipe.terms * 2)
