"""Settings of an experiment by dotted name, as suite and gin files give them, and in config.json.

"method.q_learning.n_step" is the field `n_step` of the field `q_learning` of the field `method`.
Values are held to the types of the fields they are for: a whole number serves where a fraction is
wanted, a list where a tuple is, and a boolean never as a number.
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

    All changes are made together, so that values which only fit each other can be given in any
    order.

    Args:
        config: What is changed.
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


def decode_config(
    method: type[MethodConfig], content: Mapping[str, object], where: str, *, method_path: str
) -> ExperimentConfig:
    """An experiment from JSON values; what its parts have no field for is skipped.

    Args:
        method: The class of its method, which the values do not say.
        content: Field -> value, as `encode` gives it.
        where: What is being read; begins every message.
        method_path: Where the method's own settings are in it.

    Raises:
        ValueError: a field is missing, of another type or out of range; names it.
    """
    kinds = typing.get_type_hints(ExperimentConfig)
    del kinds["method"]
    if "track" not in content:
        # Runs that are older than it have its default.
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
    """Every setting of a config dataclass: dotted name -> its value."""
    found: dict[str, object] = {}
    for field in dataclasses.fields(typing.cast(Any, config)):
        name, value = f"{prefix}{field.name}", getattr(config, field.name)
        is_group = dataclasses.is_dataclass(value)
        found |= known_settings(value, f"{name}.") if is_group else {name: value}
    return found


def nearest(name: str, known: Mapping[str, object]) -> tuple[str, ...]:
    """Known names like one, the likeliest first: at most three, perhaps none.

    A name that is another's last part is like it, however long the rest.
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
