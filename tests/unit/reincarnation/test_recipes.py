"""The numbers of each method, as the paper gives them."""

from __future__ import annotations

import dataclasses

import pytest

from rrl_agents.reincarnation.qdagger import QDaggerConfig, qdagger
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig, tabula_rasa
from rrl_agents.training.q_learning_config import QLearningConfig
from rrl_agents.types import Progress, Stage

ONLINE = Progress(random_return=-20.0, teacher_return=20.0, stage=Stage.ONLINE)


def test_qdagger_distils_with_full_weight_offline_on_the_teachers_data() -> None:
    recipe = qdagger(QDaggerConfig())
    offline = dataclasses.replace(ONLINE, stage=Stage.OFFLINE, student_return=10.0)
    assert recipe.weaning_weight(offline) == 1.0
    assert recipe.term_weights(offline) == {"td": 1.0, "distillation": 3.0}
    assert recipe.learning_rate(offline) == 1e-4
    assert recipe.teacher_share(Stage.OFFLINE) == 1.0
    assert recipe.offline_updates == 1_000_000


def test_qdagger_weans_online_by_the_score_on_the_students_data() -> None:
    recipe = qdagger(QDaggerConfig())
    halfway = dataclasses.replace(ONLINE, student_return=0.0)
    progress = dataclasses.replace(halfway, weaning_weight=recipe.weaning_weight(halfway))
    # Score 1/2: lambda 1/2, distillation 3 / 2, rate (1e-4 + 1e-5) / 2.
    assert recipe.term_weights(progress) == {"td": 1.0, "distillation": 1.5}
    assert recipe.learning_rate(progress) == pytest.approx(5.5e-5)
    assert recipe.teacher_share(Stage.ONLINE) == 0.0
    assert recipe.needs_teacher(progress)


def test_qdagger_has_the_clocks_of_the_paper() -> None:
    recipe = qdagger(QDaggerConfig())
    # 8,000 agent steps at one update per 4 are 2,000 updates, in both stages.
    assert recipe.target_update_period(Stage.OFFLINE) == 2_000
    assert recipe.target_update_period(Stage.ONLINE) == 2_000
    # Epsilon stays 1 for the 20,000 steps that fill replay, then decays over 50,000.
    assert recipe.epsilon(20_000) == 1.0
    assert recipe.epsilon(45_000) == pytest.approx(0.505)
    assert recipe.epsilon(70_000) == pytest.approx(0.01)
    assert recipe.q_learning.n_step == 3 and recipe.q_learning.discount == 0.99
    assert recipe.syncs_target_before_online


def test_tabula_rasa_is_one_step_q_learning_without_a_teacher() -> None:
    recipe = tabula_rasa(TabulaRasaConfig())
    assert recipe.term_weights(ONLINE) == {"td": 1.0}
    assert recipe.learning_rate(ONLINE) == pytest.approx(6.25e-5)
    assert recipe.q_learning.n_step == 1
    assert recipe.offline_updates == 0
    assert recipe.weaning_weight(ONLINE) == 0.0
    assert not recipe.needs_teacher(ONLINE)


@pytest.mark.parametrize(
    "settings",
    [{"temperature": 0.0}, {"offline_updates": -1}, {"wean_steps": -1}],
)
def test_impossible_qdagger_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="; use "):
        QDaggerConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings",
    [
        {"n_step": 0},
        {"discount": 1.0},
        {"batch_size": 0},
        {"final_epsilon": -0.1},
        {"target_update_steps": 6},
        {"min_replay_size": 0},
    ],
)
def test_impossible_q_learning_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="; use "):
        QLearningConfig(**settings)  # type: ignore[arg-type]


def test_terms_of_one_name_are_refused() -> None:
    recipe = tabula_rasa(TabulaRasaConfig())
    with pytest.raises(ValueError, match="all different"):
        dataclasses.replace(recipe, terms=recipe.terms * 2)
