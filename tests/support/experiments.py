"""Experiments on Catch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.reincarnation.qdagger import QDaggerConfig
from services.launcher.experiment_config import ExperimentConfig, TeacherChoice


def catch_config(checkpoint: Path | str, /, **changes: Any) -> ExperimentConfig:
    """QDagger on Catch with a small perceptron, but for what is changed."""
    config = ExperimentConfig(
        method=QDaggerConfig(),
        environment=EnvironmentConfig(name="catch"),
        network=NetworkConfig(name="mlp", features=(32,)),
        teacher=TeacherChoice(checkpoint=str(checkpoint)),
    )
    return dataclasses.replace(config, **changes)
