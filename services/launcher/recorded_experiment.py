"""What a run's config.json says of its experiment, for those who come after the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.training.train_state import OptimiserConfig
from rrl_agents.typed_json import decode
from services.shared.errors import UserError
from services.shared.run_config import CONFIG_FILE, read_config


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordedExperiment:
    """The part of a resolved experiment that outlives its run.

    Attributes:
        method: Name of the recipe.
        settings: Its settings, in one line.
        environment: What was played.
        network: The student's architecture.
        optimiser: What its updates were made by.
        random_return: Mean return of the random policy.
        data_fingerprint: Of the recorded data that the teacher's table was filled from; None where
            the teacher played.
    """

    method: str
    settings: str
    environment: EnvironmentConfig
    network: NetworkConfig
    optimiser: OptimiserConfig
    random_return: float
    data_fingerprint: str | None


def read_experiment(run: Path) -> RecordedExperiment:
    """Read the experiment of a run.

    Args:
        run: Its folder.

    Raises:
        UserError: it is no run's folder, or its config.json is damaged.
    """
    try:
        return _decode(read_config(run))
    except ValueError as error:
        raise UserError(f"{run / CONFIG_FILE} cannot be read ({error}); restore it") from error


@dataclasses.dataclass(frozen=True)
class _QLearning:
    optimiser: OptimiserConfig


@dataclasses.dataclass(frozen=True)
class _Settings:
    q_learning: _QLearning


@dataclasses.dataclass(frozen=True)
class _Teacher:
    data_fingerprint: str | None


@dataclasses.dataclass(frozen=True)
class _Config:
    """The fields that are read, as config.json nests them."""

    method: str
    settings: _Settings
    environment: EnvironmentConfig
    network: NetworkConfig
    random_return: float
    teacher: _Teacher


def _decode(config: dict[str, Any]) -> RecordedExperiment:
    read = decode(_Config, config, CONFIG_FILE, ignore_unknown=True)
    return RecordedExperiment(
        method=read.method,
        # Each method has settings of its own; they are shown, and not used again.
        settings=", ".join(_flat(config["settings"])),
        environment=read.environment,
        network=read.network,
        optimiser=read.settings.q_learning.optimiser,
        random_return=read.random_return,
        data_fingerprint=read.teacher.data_fingerprint,
    )


def _flat(settings: Mapping[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield f"{name} {value}"
