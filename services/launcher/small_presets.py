"""Experiments for small environments, with a budget of minutes.

They suit vector observations, as in Gymnasium's LunarLander-v3, and images with `--student auto`.
Every method has the same student and budget; tabula rasa gets the teacher's steps as well, to show
what the same amount of play achieves without a teacher. Batch size, learning rate, replay ratio and
target period are close to those tuned in stable-baselines3's zoo for DQN on LunarLander-v2. Clocks
count decisions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.reincarnation.dqfd import DqfdConfig
from rrl_agents.reincarnation.fine_tuning import FineTuningConfig
from rrl_agents.reincarnation.jsrl import JsrlConfig
from rrl_agents.reincarnation.offline_pretraining import (
    ConservativeConfig,
    OfflinePretrainingConfig,
    RehearsalConfig,
)
from rrl_agents.reincarnation.qdagger import (
    DaggerConfig,
    KickstartingConfig,
    QDaggerConfig,
    QlDaggerConfig,
    WeaningConfig,
)
from rrl_agents.reincarnation.registry import MethodConfig, make_recipe
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig
from rrl_agents.training.q_learning_config import QLearningConfig
from services.evaluator.config import EvaluationProtocol
from services.launcher.experiment_config import ExperimentConfig, TeacherChoice

_TEACHER_STEPS = 10_000
_ONLINE_STEPS = 10_000
_OFFLINE_UPDATES = 5_000
_LEARNING_RATE = 5e-4
_WEANED_LEARNING_RATE = 1e-4

_Q_LEARNING = QLearningConfig(
    batch_size=128,
    update_period=1,
    target_update_steps=250,
    min_replay_size=1_000,
    final_epsilon=0.05,
    epsilon_decay_steps=5_000,
)
_WEANING = WeaningConfig(
    wean_steps=_ONLINE_STEPS,
    taught_learning_rate=_LEARNING_RATE,
    weaned_learning_rate=_WEANED_LEARNING_RATE,
)
_CONSERVATIVE = ConservativeConfig(
    offline_learning_rate=_LEARNING_RATE, online_learning_rate=_WEANED_LEARNING_RATE
)
_METHODS: tuple[MethodConfig, ...] = (
    QDaggerConfig(q_learning=_Q_LEARNING, weaning=_WEANING, offline_updates=_OFFLINE_UPDATES),
    KickstartingConfig(q_learning=_Q_LEARNING, weaning=_WEANING),
    DaggerConfig(
        q_learning=_Q_LEARNING, learning_rate=_LEARNING_RATE, offline_updates=_OFFLINE_UPDATES
    ),
    QlDaggerConfig(
        q_learning=_Q_LEARNING, learning_rate=_LEARNING_RATE, offline_updates=_OFFLINE_UPDATES
    ),
    DqfdConfig(
        q_learning=_Q_LEARNING,
        wean_steps=_ONLINE_STEPS,
        learning_rate=_LEARNING_RATE,
        offline_updates=_OFFLINE_UPDATES,
    ),
    JsrlConfig(
        q_learning=_Q_LEARNING,
        iteration_steps=_ONLINE_STEPS // 10,
        mixture_steps=_ONLINE_STEPS,
        learning_rate=_LEARNING_RATE,
    ),
    RehearsalConfig(
        q_learning=_Q_LEARNING, conservative=_CONSERVATIVE, offline_updates=_OFFLINE_UPDATES
    ),
    OfflinePretrainingConfig(
        q_learning=_Q_LEARNING, conservative=_CONSERVATIVE, offline_updates=_OFFLINE_UPDATES
    ),
    FineTuningConfig(q_learning=_Q_LEARNING, learning_rate=_WEANED_LEARNING_RATE),
)


def _experiment(method: MethodConfig) -> ExperimentConfig:
    return ExperimentConfig(
        method=method,
        environment=EnvironmentConfig(name="gymnasium", game="CartPole-v1"),
        network=NetworkConfig(name="mlp", features=(256, 256)),
        # The user must name one: none ships with this package.
        teacher=TeacherChoice(checkpoint=None),
        teacher_steps=_TEACHER_STEPS,
        online_steps=_ONLINE_STEPS,
        evaluation=EvaluationProtocol(
            episodes=10, final_episodes=100, teacher_episodes=100, epsilon=0.0
        ),
        offline_evaluation_period=_OFFLINE_UPDATES // 2,
        online_evaluation_period=1_500,
        num_actors=1,
        replay_capacity=50_000,
        checkpoint_period_seconds=120.0,
        one_process=True,
    )


SMALL_EXPERIMENTS: Mapping[str, ExperimentConfig] = {
    **{make_recipe(method).name: _experiment(method) for method in _METHODS},
    "tabula_rasa": dataclasses.replace(
        _experiment(TabulaRasaConfig(q_learning=_Q_LEARNING, learning_rate=_LEARNING_RATE)),
        teacher_steps=0,
        online_steps=_TEACHER_STEPS + _ONLINE_STEPS,
    ),
}
"""Method -> experiment."""
