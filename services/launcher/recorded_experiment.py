"""What a run's config.json says of its experiment, for those who come after the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from rrl_agents.reincarnation.registry import METHODS
from rrl_agents.typed_json import decode
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.settings import known_settings
from services.shared.errors import UserError
from services.shared.run_config import CONFIG_FILE, read_config


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordedExperiment:
    """An experiment as its run has noted it.

    Attributes:
        config: What was run, with everything that follows from the teacher filled in.
        method: Name of the recipe.
        settings: Its settings, in one line.
        random_return: Mean return of the random policy.
        data_fingerprint: Of the recorded data that the teacher's table was filled from; None where
            the teacher played.
    """

    config: ExperimentConfig
    method: str
    settings: str
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
        return decode_experiment(read_config(run))
    except ValueError as error:
        raise UserError(f"{run / CONFIG_FILE} cannot be read ({error}); restore it") from error


@dataclasses.dataclass(frozen=True)
class _Teacher:
    data_fingerprint: str | None


@dataclasses.dataclass(frozen=True)
class _FoundOut:
    """What of config.json is no field of `ExperimentConfig`, as it nests it."""

    method: str
    random_return: float
    teacher: _Teacher


def decode_experiment(content: Mapping[str, Any]) -> RecordedExperiment:
    """The experiment that `Experiment.to_json` has written.

    Raises:
        ValueError: a field is missing, of another type or out of range; names it.
    """
    found = decode(_FoundOut, content, CONFIG_FILE, ignore_unknown=True)
    if found.method not in METHODS:
        raise ValueError(f"method is {found.method!r}; known are {', '.join(METHODS)}")
    kinds = get_type_hints(ExperimentConfig)
    del kinds["method"]
    if missing := sorted(kinds.keys() - content.keys()):
        raise ValueError(f"field {missing[0]} is missing")
    # Environment and teacher also hold what was found out, as `frames_per_step`: skipped.
    chosen = {
        name: decode(kind, content[name], CONFIG_FILE, path=name, ignore_unknown=True)
        for name, kind in kinds.items()
    }
    kind = METHODS[found.method].config_class
    method = decode(kind, content.get("settings"), CONFIG_FILE, path="settings")
    settings = [
        f"{name.rpartition('.')[2]} {value}" for name, value in known_settings(method).items()
    ]
    return RecordedExperiment(
        config=ExperimentConfig(method=method, **chosen),
        method=found.method,
        settings=", ".join(settings),
        random_return=found.random_return,
        data_fingerprint=found.teacher.data_fingerprint,
    )
