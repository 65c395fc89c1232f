"""What a run's config.json says of its experiment, for those who come after the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrl_agents.reincarnation.registry import METHODS
from rrl_agents.typed_json import decode
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.settings import decode_config
from services.shared.errors import UserError
from services.shared.run_config import CONFIG_FILE, read_config


@dataclasses.dataclass(frozen=True)
class _Teacher:
    data_fingerprint: str | None


@dataclasses.dataclass(frozen=True)
class FoundOut:
    """What of config.json is no field of `ExperimentConfig`, as it nests it.

    Attributes:
        method: Name of the recipe.
        random_return: Mean return of the random policy.
        teacher: Of its data the fingerprint; None where the teacher played.
    """

    method: str
    random_return: float
    teacher: _Teacher


def read_experiment(run: Path) -> tuple[ExperimentConfig, FoundOut]:
    """The experiment of a run, with everything that follows from the teacher filled in.

    Args:
        run: Its folder.

    Raises:
        UserError: it is no run's folder, or its config.json is damaged.
    """
    try:
        return decode_experiment(read_config(run))
    except ValueError as error:
        raise UserError(f"{run / CONFIG_FILE} cannot be read ({error}); restore it") from error


def decode_experiment(content: Mapping[str, Any]) -> tuple[ExperimentConfig, FoundOut]:
    """The experiment that `Experiment.to_json` has written.

    Raises:
        ValueError: a field is missing, of another type or out of range; names it.
    """
    found = decode(FoundOut, content, CONFIG_FILE, ignore_unknown=True)
    if found.method not in METHODS:
        raise ValueError(f"method is {found.method!r}; known are {', '.join(METHODS)}")
    method = METHODS[found.method].config_class
    return decode_config(method, content, CONFIG_FILE, method_path="settings"), found
