"""What a run's config.json says of its experiment, for those who come after the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from rrl_agents.checkpoints.json_fields import JsonFields
from rrl_agents.checkpoints.network_fields import network_from_fields
from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.training.train_state import OptimiserConfig
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


def _decode(config: dict[str, Any]) -> RecordedExperiment:
    fields = JsonFields(config, CONFIG_FILE)
    # Each method has settings of its own; they are shown, and not used again.
    settings = config.get("settings")
    return RecordedExperiment(
        method=fields.text("method"),
        settings=", ".join(_flat(settings)) if isinstance(settings, dict) else "",
        environment=_environment(fields.child("environment")),
        network=network_from_fields(fields.child("network")),
        optimiser=_optimiser(fields.child("settings").child("q_learning").child("optimiser")),
        random_return=fields.number("random_return"),
        data_fingerprint=_data_fingerprint(fields.child("teacher")),
    )


def _data_fingerprint(teacher: JsonFields) -> str | None:
    name = "data_fingerprint"
    return None if teacher.is_null(name) else teacher.text(name)


def _environment(fields: JsonFields) -> EnvironmentConfig:
    config = EnvironmentConfig(
        name=fields.text("name"),
        game=fields.text("game"),
        max_episode_steps=fields.optional_whole("max_episode_steps"),
        sticky_action_probability=fields.optional_number("sticky_action_probability"),
        clip_rewards=None if fields.is_null("clip_rewards") else fields.truth("clip_rewards"),
        random_return=fields.optional_number("random_return"),
        balls=fields.whole("balls"),
        stack_size=fields.whole("stack_size"),
    )
    # Follows from the rest.
    fields.whole("frames_per_step")
    fields.finish()
    return config


def _optimiser(fields: JsonFields) -> OptimiserConfig:
    name = fields.text("name")
    if name not in ("adam", "rmsprop"):
        raise ValueError(f"optimiser is {name!r}; known are 'adam' and 'rmsprop'")
    config = OptimiserConfig(
        name=cast(Literal["adam", "rmsprop"], name),
        beta1=fields.number("beta1"),
        beta2=fields.number("beta2"),
        epsilon=fields.number("epsilon"),
        centered=fields.truth("centered"),
    )
    fields.finish()
    return config


def _flat(settings: Mapping[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield f"{name} {value}"
