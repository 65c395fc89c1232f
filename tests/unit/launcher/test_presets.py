"""The paper's presets against the table of Agarwal et al. 2022 (arXiv 2206.01626, appendix A)."""

from __future__ import annotations

import pytest

from rrl_agents.reincarnation.qdagger import QDaggerConfig
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.registry import METHODS, make_recipe
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig
from rrl_agents.types import Progress, Stage
from services.launcher.experiment import ExperimentConfig
from services.launcher.presets import DEMO, PAPER, PRESETS


def paper(method: str) -> tuple[ExperimentConfig, Recipe]:
    config = PRESETS[method][PAPER]
    return config, make_recipe(config.method)


def test_every_method_has_both_presets() -> None:
    assert PRESETS.keys() == METHODS.keys()
    for method, presets in PRESETS.items():
        assert presets.keys() == {PAPER, DEMO}
        for config in presets.values():
            assert type(config.method) is METHODS[method].config_class


@pytest.mark.parametrize("method", sorted(PRESETS))
def test_what_all_methods_of_the_paper_share(method: str) -> None:
    config, _ = paper(method)
    q_learning = config.method.q_learning
    # "Common" and the rows of the DQN column.
    assert q_learning.discount == 0.99
    assert q_learning.batch_size == 32
    assert q_learning.adam.epsilon == 1.5e-4
    assert q_learning.update_period == 4
    assert q_learning.target_update_steps == 8_000
    assert q_learning.min_replay_size == 20_000
    assert q_learning.final_epsilon == 0.01
    assert q_learning.epsilon_decay_steps == 50_000
    assert config.replay_capacity == 1_000_000
    assert config.online_steps == 10 * 250_000
    # Nature CNN.
    assert config.network.name == "nature_cnn"
    assert config.network.features == (32, 64, 64)
    assert config.network.hidden_units == 512
    # Sticky actions, episodes of 27,000 decisions by Atari's own default, epsilon of evaluation.
    assert config.environment.name == "atari"
    assert config.environment.sticky_action_probability == 0.25
    assert config.environment.max_episode_steps is None
    assert config.evaluation.epsilon == 0.001


def test_qdagger_dqn_has_the_papers_numbers() -> None:
    config, recipe = paper("qdagger")
    assert isinstance(config.method, QDaggerConfig)
    assert recipe.q_learning.n_step == 3
    assert config.method.temperature == 0.1
    assert config.method.distillation_coefficient == 3.0
    assert config.method.wean_steps == 1_500_000  # 6M frames of 4 per decision
    assert recipe.offline_updates == 10 * 100_000
    # The teacher's data is Dopamine's last replay buffer: 1M transitions.
    assert config.teacher_steps == 1_000_000
    # An offline iteration is 100k updates, an online one 250k decisions of 4 per update.
    assert config.offline_evaluation_period == 100_000
    assert config.online_evaluation_period == 250_000 // 4
    # lr = lambda * 1e-4 + (1 - lambda) * 1e-5
    for weight, rate in ((1.0, 1e-4), (0.5, 5.5e-5), (0.0, 1e-5)):
        progress = Progress(random_return=0.0, teacher_return=1.0, weaning_weight=weight)
        assert recipe.learning_rate(progress) == pytest.approx(rate)
    # Every 8,000 decisions; offline divided by the update period as well.
    assert recipe.target_update_period(Stage.OFFLINE) == 2_000
    assert recipe.target_update_period(Stage.ONLINE) == 2_000
    assert recipe.teacher_share(Stage.OFFLINE) == 1.0
    assert recipe.teacher_share(Stage.ONLINE) == 0.0


def test_tabula_rasa_has_the_papers_numbers() -> None:
    config, recipe = paper("tabula_rasa")
    assert isinstance(config.method, TabulaRasaConfig)
    assert recipe.q_learning.n_step == 1
    assert config.method.learning_rate == 6.25e-5
    assert recipe.offline_updates == 0
    assert config.teacher_steps == 0
    assert [term.name for term in recipe.terms] == ["td"]


def test_the_demos_play_the_same_game_for_as_many_updates() -> None:
    qdagger, baseline = PRESETS["qdagger"][DEMO], PRESETS["tabula_rasa"][DEMO]
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
