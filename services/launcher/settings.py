"""Settings of an experiment by dotted name, for suite files, gin files and config.json.

"method.q_learning.n_step" is the field `n_step` of the field `q_learning` of the field `method`.
Values must fit the types of their fields: a whole number is accepted for a float and a list for a
tuple, but never a boolean for a number.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import operator
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from rrl_agents.reincarnation.registry import METHODS, MethodConfig
from rrl_agents.typed_json import LARGEST_WHOLE, decode, encode
from services.launcher.experiment_config import ExperimentConfig
from services.shared.errors import UserError, user_errors
from services.shared.run_config import CONFIG_FILE, read_config

_SUGGESTIONS = 3

Settings: TypeAlias = Mapping[str, object]
"""Dotted name -> value."""


def with_settings(config: ExperimentConfig, settings: Settings) -> ExperimentConfig:
    """An experiment with some of its settings changed.

    All changes are made at once, so that settings which depend on each other can come in any order.

    Args:
        config: The experiment to change.
        settings: Dotted name -> value.

    Raises:
        UserError: there is no such setting, a value has another type, or the values do not fit
            together.
    """
    known = known_settings(config)
    content = encode(config)
    for name, value in settings.items():
        if name not in known:
            raise UserError(_unknown(name, known))
        for number in value if isinstance(value, (list, tuple)) else (value,):
            if type(number) is int and abs(number) > LARGEST_WHOLE:
                raise UserError(f"{name} is {value!r}; give whole numbers of at most 18 digits")
        *groups, field = name.split(".")
        functools.reduce(operator.getitem, groups, content)[field] = value
    with user_errors():
        return decode_config(type(config.method), content, "settings", method_path="method")


@dataclasses.dataclass(frozen=True)
class _Teacher:
    data_fingerprint: str | None


@dataclasses.dataclass(frozen=True)
class FoundOut:
    """The fields of config.json that are not in `ExperimentConfig`.

    Attributes:
        method: Name of the recipe.
        random_return: Mean return of the random policy.
        teacher: Fingerprint of its recorded data; None if the teacher played.
    """

    method: str
    random_return: float
    teacher: _Teacher


def read_experiment(run: Path) -> tuple[ExperimentConfig, FoundOut]:
    """The experiment of a run, with the settings that follow from the teacher filled in.

    Args:
        run: Its folder.

    Raises:
        UserError: it is not a run's folder, or its config.json is damaged.
    """
    try:
        return decode_experiment(read_config(run))
    except ValueError as error:
        raise UserError(f"{run / CONFIG_FILE} cannot be read ({error}); restore it") from error


def decode_experiment(content: Mapping[str, Any]) -> tuple[ExperimentConfig, FoundOut]:
    """Decode an experiment written by `Experiment.to_json`.

    Raises:
        ValueError: a field is missing, of another type or out of range; names it.
    """
    found = decode(FoundOut, content, CONFIG_FILE, ignore_unknown=True)
    if found.method not in METHODS:
        raise ValueError(f"method is {found.method!r}; known are {', '.join(METHODS)}")
    method = METHODS[found.method].config_class
    return decode_config(method, content, CONFIG_FILE, method_path="settings"), found


def decode_config(
    method: type[MethodConfig], content: Mapping[str, object], where: str, *, method_path: str
) -> ExperimentConfig:
    """Decode an experiment from JSON values; unknown fields are skipped.

    Args:
        method: The class of its method, which is not in the values.
        content: Field -> value, as `encode` gives it.
        where: What is being read; starts every error message.
        method_path: Path of the method's settings in it.

    Raises:
        ValueError: a field is missing, of another type or out of range; names it.
    """
    kinds = typing.get_type_hints(ExperimentConfig)
    del kinds["method"]
    if "track" not in content:
        # Runs older than a setting have its default.
        del kinds["track"]
    if missing := sorted(kinds.keys() - content.keys()):
        raise ValueError(f"{where}: field {missing[0]} is missing")
    fields = {
        name: decode(kind, content[name], where, path=name, ignore_unknown=True)
        for name, kind in kinds.items()
    }
    chosen = decode(method, content.get(method_path), where, path=method_path)
    return ExperimentConfig(method=chosen, **fields)


def known_settings(config: object, prefix: str = "") -> dict[str, object]:
    """Every setting of a config dataclass: dotted name -> value."""
    found: dict[str, object] = {}
    for field in dataclasses.fields(typing.cast(Any, config)):
        name, value = f"{prefix}{field.name}", getattr(config, field.name)
        is_group = dataclasses.is_dataclass(value)
        found |= known_settings(value, f"{name}.") if is_group else {name: value}
    return found


def nearest(name: str, known: Mapping[str, object]) -> tuple[str, ...]:
    """At most three known names similar to a name, the most similar first.

    A name that ends another one counts as similar, however long the rest.
    """
    last = name.rpartition(".")[2]
    whole = difflib.get_close_matches(name, known, n=_SUGGESTIONS, cutoff=0.6)
    inside = [other for other in known if other.rpartition(".")[2] == last]
    ends = {other.rpartition(".")[2]: other for other in known}
    like = [ends[end] for end in difflib.get_close_matches(last, ends, n=1, cutoff=0.75)]
    return tuple(dict.fromkeys([*inside, *whole, *like]))[:_SUGGESTIONS]


def _unknown(name: str, known: Mapping[str, object]) -> str:
    group = sorted(other for other in known if other.startswith(f"{name}."))
    if group:
        return f"{name!r} is a group of settings; give one of them: {', '.join(group)}"
    like = nearest(name, known)
    advice = f"did you mean {' or '.join(like)}" if like else f"there are {', '.join(known)}"
    return f"{name!r} is no setting of this experiment; {advice}"
