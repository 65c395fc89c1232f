"""Settings of an experiment by dotted name, as suite files and gin files give them.

"method.q_learning.n_step" is the field `n_step` of the field `q_learning` of the field `method`.
Values are held to the types of the fields they are for: a whole number serves where a fraction is
wanted, a list where a tuple is, and a boolean never as a number.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias, TypeVar, cast

from rrl_agents.typed_json import LARGEST_WHOLE, Misfit, fitted, wanted
from services.launcher.experiment_config import ExperimentConfig
from services.shared.errors import UserError, user_errors

_SUGGESTIONS = 3

ConfigT = TypeVar("ConfigT")

Settings: TypeAlias = Mapping[str, object]
"""Dotted name -> value."""

_Tree: TypeAlias = "dict[str, object]"
"""Field -> what it is set to: a value, or the tree of a field that has fields of its own."""


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
    for name in settings:
        if name not in known:
            raise UserError(_unknown(name, known))
    with user_errors():
        return _replaced(config, _tree(settings), ())


def known_settings(config: object) -> dict[str, object]:
    """Every setting of a config dataclass: dotted name -> its value."""
    return {".".join(path): value for path, value in _leaves(config, ())}


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


def _leaves(config: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    for field in dataclasses.fields(typing.cast(Any, config)):
        value = getattr(config, field.name)
        here = (*path, field.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, here)
        else:
            yield here, value


def _unknown(name: str, known: Mapping[str, object]) -> str:
    group = sorted(other for other in known if other.startswith(f"{name}."))
    if group:
        return f"{name!r} is a group of settings; give one of them: {', '.join(group)}"
    like = nearest(name, known)
    advice = f"did you mean {' or '.join(like)}" if like else f"there are {', '.join(known)}"
    return f"{name!r} is no setting of this experiment; {advice}"


def _tree(settings: Settings) -> _Tree:
    tree: _Tree = {}
    for name, value in settings.items():
        *groups, leaf = name.split(".")
        place = tree
        for group in groups:
            place = typing.cast(_Tree, place.setdefault(group, {}))
        place[leaf] = value
    return tree


def _replaced(config: ConfigT, tree: _Tree, path: tuple[str, ...]) -> ConfigT:
    hints = typing.get_type_hints(type(config))
    changes: dict[str, Any] = {}
    for name, given in tree.items():
        here, old = (*path, name), getattr(config, name)
        if dataclasses.is_dataclass(old):
            changes[name] = _replaced(old, typing.cast(_Tree, given), here)
        else:
            changes[name] = _typed(given, hints[name], ".".join(here))
    return typing.cast(ConfigT, dataclasses.replace(typing.cast(Any, config), **changes))


def _typed(value: object, hint: Any, name: str) -> object:
    """The value as the field's type has it.

    Raises:
        ValueError: the value is of another type.
    """
    try:
        found = fitted(hint, value)
    except Misfit:
        raise ValueError(f"{name} is {value!r}; give {wanted(hint)}") from None
    for number in found if isinstance(found, tuple) else (found,):
        if type(number) is int and abs(number) > LARGEST_WHOLE:
            raise ValueError(f"{name} is {value!r}; give whole numbers of at most 18 digits")
    return cast(object, found)
