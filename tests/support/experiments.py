"""Experiments on Catch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.reincarnation.qdagger import QDaggerConfig
from rrl_agents.reincarnation.registry import METHODS
from services.evaluator.config import EvaluationProtocol
from services.launcher.experiment import Experiment
from services.launcher.experiment_config import ExperimentConfig, TeacherChoice
from services.launcher.resolution import resolve
from services.launcher.settings import with_settings

OFFLINE_UPDATES = 40
ONLINE_STEPS = 600
MIN_REPLAY_SIZE = 200


def catch_config(checkpoint: Path | str, /, **changes: Any) -> ExperimentConfig:
    """QDagger on Catch with a small perceptron, but for what is changed."""
    config = ExperimentConfig(
        method=QDaggerConfig(),
        environment=EnvironmentConfig(name="catch"),
        network=NetworkConfig(name="mlp", features=(32,)),
        teacher=TeacherChoice(checkpoint=str(checkpoint)),
    )
    return dataclasses.replace(config, **changes)


def catch_experiment(method: str, teacher: Path, **settings: Any) -> Experiment:
    """An experiment of a few seconds.

    Args:
        method: Key of `METHODS`.
        teacher: Directory of the teacher.
        settings: Settings by name that differ from those here.
    """
    config = ExperimentConfig(
        method=METHODS[method].config_class(),
        environment=EnvironmentConfig(name="catch"),
        network=NetworkConfig(name="mlp", features=(16,)),
        teacher=TeacherChoice(checkpoint=str(teacher)),
        teacher_steps=400,
        online_steps=ONLINE_STEPS,
        evaluation=EvaluationProtocol(episodes=4, final_episodes=6, num_envs=2),
        offline_evaluation_period=20,
        online_evaluation_period=40,
        num_actors=1,
        envs_per_actor=4,
        replay_capacity=5_000,
        publish_period_updates=10,
        weights_period_seconds=0.05,
        pause_for_evaluation=True,
        one_process=True,
    )
    quick = {
        "method.q_learning.min_replay_size": MIN_REPLAY_SIZE,
        "method.q_learning.target_update_steps": 40,
        "method.q_learning.epsilon_decay_steps": 100,
    }
    if hasattr(config.method, "offline_updates"):
        quick["method.offline_updates"] = OFFLINE_UPDATES
    return resolve(with_settings(config, quick | settings))
