"""Settings of an experiment by dotted name, for suite files, gin files and config.json.

"method.q_learning.n_step" is the field `n_step` of the field `q_learning` of the field `method`.
Values must fit the types of their fields: a whole number is accepted for a float and a list for a
tuple, but never a boolean for a number.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import operator
import typing
from collections.abc import Iterator, Mapping, Sequence
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
        return _decode_config(type(config.method), content, "settings", method_path="method")


_FOUND_OUT = {
    "": ("method", "teacher_return", "random_return", "score_protocols", "budgets"),
    "environment": ("frames_per_step",),
    "teacher": ("name", "parameters_sha256", "data_fingerprint"),
}
"""What `Experiment.to_json` writes beside the settings, by group."""


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
    with _unreadable(run):
        return decode_experiment(read_config(run))


def decode_experiment(content: Mapping[str, Any]) -> tuple[ExperimentConfig, FoundOut]:
    """Decode an experiment written by `Experiment.to_json`, of this version or an older one.

    A missing setting is newer than the run and takes its default, which is what the run did: the
    default of a new setting must change nothing.

    Raises:
        ValueError: a field is unknown, of another type or out of range, or one without a default is
            missing; names it.
    """
    return _decode_chosen(content), decode(FoundOut, content, CONFIG_FILE, ignore_unknown=True)


def _decode_chosen(content: Mapping[str, Any]) -> ExperimentConfig:
    name = decode(str, content.get("method"), CONFIG_FILE, path="method")
    if name not in METHODS:
        raise ValueError(f"method is {name!r}; known are {', '.join(METHODS)}")
    chosen = _without(content, _FOUND_OUT[""])
    for group in ("environment", "teacher"):
        if isinstance(chosen.get(group), dict):
            chosen[group] = _without(chosen[group], _FOUND_OUT[group])
    kind = METHODS[name].config_class
    return _decode_config(kind, chosen, CONFIG_FILE, method_path="settings")


@contextlib.contextmanager
def _unreadable(run: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise UserError(
            f"{run / CONFIG_FILE} cannot be read ({error}); restore it, or use the version that "
            "made the run"
        ) from error


def read_whole_config(run: Path) -> dict[str, Any]:
    """Read a run's config.json; settings newer than the run have their defaults.

    Raises:
        UserError: it is not a run's folder, or its config.json is damaged.
    """
    content = read_config(run)
    with _unreadable(run):
        config = encode(_decode_chosen(content))
    config["settings"] = config.pop("method")
    return _merged(config, content)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**below, **above}
    for name in below.keys() & above.keys():
        if isinstance(below[name], dict) and isinstance(above[name], dict):
            merged[name] = _merged(below[name], above[name])
    return merged


def _without(content: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in names}


def _decode_config(
    method: type[MethodConfig], content: Mapping[str, object], where: str, *, method_path: str
) -> ExperimentConfig:
    """Decode an experiment from JSON values.

    Args:
        method: The class of its method, which is not in the values.
        content: Field -> value, as `encode` gives it; a missing field takes its default.
        where: What is being read; starts every error message.
        method_path: Path of the method's settings in it.

    Raises:
        ValueError: a field is unknown, of another type or out of range; names it.
    """
    kinds = typing.get_type_hints(ExperimentConfig)
    del kinds["method"]
    kinds[method_path] = method
    if unknown := sorted(content.keys() - kinds.keys()):
        raise ValueError(f"{where}: unknown field {unknown[0]}")
    fields = {
        name: decode(kinds[name], value, where, path=name, use_defaults=True)
        for name, value in {method_path: {}, **content}.items()
    }
    return ExperimentConfig(method=fields.pop(method_path), **fields)


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
    return f"{name!r} is not a setting of this experiment; {advice}"
