"""JSON values as frozen dataclasses, and back: every field with its type, none unknown.

    JSON          Python
    object        a dataclass, or Mapping[str, X]
    array         tuple[X, ...], or tuple[X, X] of exactly two
    string        str, one of a Literal, or the name of an Enum's member
    number        int (whole numbers alone), float (finite)
    true, false   bool
    null          None, in X | None

A dataclass is made as its own constructor makes it, so it checks its ranges.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import enum
import functools
import math
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

_MAX_SHOWN = 80
_MAY_BE_MISSING = "may_be_missing"
_SCALARS = {
    str: "a string",
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    types.NoneType: "nothing",
}

LARGEST_WHOLE = 10**18 - 1
"""What those who read settings hold whole numbers to, of either sign: any array holds it."""

T = TypeVar("T")


class Misfit(Exception):
    """A value is not of the wanted type.

    Args:
        kind: The type.
        value: The value.
        path: Where it is in its document, e.g. "environment.name"; "" for all of it.
    """

    def __init__(self, kind: Any = None, value: object = None, path: str = "") -> None:
        super().__init__(kind, value, path)
        self.kind, self.value, self.path = kind, value, path


def decode(
    kind: type[T],
    value: object,
    where: str,
    *,
    path: str = "",
    ignore_unknown: bool = False,
    use_defaults: bool = False,
) -> T:
    """A dataclass, or another value of the types above, from decoded JSON.

    Args:
        kind: The type.
        value: What `json.loads` gave.
        where: What is being read; begins every message.
        path: Of the value within its document, e.g. "environment"; "" for all of it.
        ignore_unknown: Whether fields that a dataclass lacks are skipped, to read a part.
        use_defaults: Whether a missing field takes its default, if it has one, to read a document
            older than the field.

    Raises:
        ValueError: a field is unknown, missing, of another type or out of range; names it.
    """
    rules = _Rules(ignore_unknown, use_defaults)
    try:
        return cast(T, _fitted(kind, value, path, rules))
    except Misfit as error:
        found = f"field {error.path}" if error.path else "the document"
        found += f" is {repr(error.value)[:_MAX_SHOWN]}; it must be {wanted(error.kind)}"
        raise ValueError(f"{where}: {found}") from None
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{where}: nested too deeply") from error


def may_be_missing(default: Any) -> Any:
    """A field of a dataclass that a document may lack, for this default; others must be there."""
    metadata = {_MAY_BE_MISSING: True}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def encode(value: Any) -> Any:
    """The JSON value of a dataclass, which `decode` reads back."""
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {field.name: encode(getattr(value, field.name)) for field in fields if field.init}
    if isinstance(value, Mapping):
        return {name: encode(one) for name, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [encode(one) for one in value]
    return value.name if isinstance(value, enum.Enum) else value


_type_hints = functools.cache(get_type_hints)
"""Tables have many rows of one dataclass."""


@dataclasses.dataclass(frozen=True)
class _Rules:
    """Which fields may be too many or missing, as in `decode`."""

    ignore_unknown: bool = False
    use_defaults: bool = False

    def may_lack(self, field: dataclasses.Field[Any]) -> bool:
        has_default = not (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        return bool(field.metadata.get(_MAY_BE_MISSING)) or (self.use_defaults and has_default)


def fitted(kind: Any, value: object, path: str = "") -> Any:
    """A value as a type has it; a list serves for a tuple. Arguments are those of `decode`.

    Raises:
        Misfit: it is of another type, or a number that is not finite.
        ValueError: a field of a dataclass in it is unknown, missing or out of range.
    """
    return _fitted(kind, value, path, _Rules())


def _fitted(kind: Any, value: object, path: str, rules: _Rules) -> Any:
    for one in _alternatives(kind):
        try:
            return _fitted_to_one(one, value, path, rules)
        except Misfit as error:
            # A part of it that does not fit says more than that the whole does not.
            if error.path != path:
                raise
    raise Misfit(kind, value, path)


def _fitted_to_one(kind: Any, value: Any, path: str, rules: _Rules) -> Any:
    def part(kind: Any, value: object, place: str) -> Any:
        return _fitted(kind, value, place, rules)

    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _object(cast("type[Any]", kind), value, path, rules)
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) == len(value):
            return tuple(part(kinds[i], one, f"{path}[{i}]") for i, one in enumerate(value))
    if origin in (Mapping, dict) and isinstance(value, dict):
        return {name: part(arguments[-1], one, _below(path, name)) for name, one in value.items()}
    if _is_enum(kind) and isinstance(value, str) and value in kind.__members__:
        return kind[value]
    if origin is Literal and any(value == one and type(value) is type(one) for one in arguments):
        return value
    if kind is float and type(value) in (int, float):
        with contextlib.suppress(OverflowError):
            if math.isfinite(float(value)):
                return float(value)
    # By its very type: true and false are whole numbers in Python, and none here.
    elif kind in (object, Any) or type(value) is kind:
        return value
    raise Misfit(kind, value, path)


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


def _object(kind: type[Any], value: Mapping[str, Any], path: str, rules: _Rules) -> Any:
    known = {field.name: field for field in dataclasses.fields(kind) if field.init}
    unknown = sorted(value.keys() - known.keys())
    if unknown and not rules.ignore_unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        advice = f"did you mean {near[0]}?" if near else "remove it"
        raise ValueError(f"unknown field {_below(path, unknown[0])}; {advice}")
    hints, made = _type_hints(cast(Any, kind)), {}
    for name, field in known.items():
        place = _below(path, name)
        if name in value:
            made[name] = _fitted(hints[name], value[name], place, rules)
        elif not rules.may_lack(field):
            raise ValueError(f"field {place} is missing")
    try:
        return kind(**made)
    except ValueError as error:
        raise ValueError(f"{path}{path and ': '}{error}") from error


def wanted(kind: Any) -> str:
    """What a value must be, in words."""
    return " or ".join(map(_in_words, _alternatives(kind)))


def _in_words(kind: Any) -> str:
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if get_origin(kind) is tuple:
        count = "" if arguments[-1] is Ellipsis else f" of {len(arguments)}"
        return f"a list{count}, each {wanted(arguments[0])}"
    if _is_enum(kind):
        return f"one of {', '.join(kind.__members__)}"
    return _SCALARS.get(kind, "an object")


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """The types of `X | Y | None`; otherwise the one there is."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
