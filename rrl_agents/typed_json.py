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
from collections.abc import Iterable, Mapping
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
    """A value is not of the wanted type."""


def decode(
    kind: type[T], value: object, where: str, *, path: str = "", ignore_unknown: bool = False
) -> T:
    """A dataclass from a decoded JSON object.

    Args:
        kind: The dataclass.
        value: What `json.loads` gave.
        where: What is being read; begins every message.
        path: Of the value within its document, e.g. "environment"; "" for all of it.
        ignore_unknown: Whether fields that the dataclass lacks are skipped, to read a part.

    Raises:
        ValueError: a field is unknown, missing, of another type or out of range; names it.
    """
    try:
        return cast(T, _Decoder(where, ignore_unknown).object_of(kind, value, path))
    except RecursionError as error:
        raise ValueError(f"{where}: nested too deeply") from error


def decode_value(
    kind: Any, value: object, where: str, *, path: str, ignore_unknown: bool = False
) -> Any:
    """A value of any type above; arguments and errors are those of `decode`."""
    return _Decoder(where, ignore_unknown).value_of(kind, value, path)


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


class _Decoder:
    def __init__(self, where: str, ignore_unknown: bool) -> None:
        self._where = where
        self._ignore_unknown = ignore_unknown

    def object_of(self, kind: type[Any], value: object, path: str) -> Any:
        """A dataclass."""
        if not isinstance(value, dict):
            found = f"field {path} is {_shown(value)}; it" if path else "the document"
            raise ValueError(f"{self._where}: {found} must be an object")
        known = {field.name: field for field in dataclasses.fields(kind) if field.init}
        if not self._ignore_unknown:
            self._check_known(value, known, path)
        hints, made = _type_hints(cast(Any, kind)), {}
        for name, field in known.items():
            if name in value:
                made[name] = self.value_of(hints[name], value[name], _below(path, name))
            elif not field.metadata.get(_MAY_BE_MISSING):
                raise ValueError(f"{self._where}: field {_below(path, name)} is missing")
        try:
            return kind(**made)
        except ValueError as error:
            raise ValueError(f"{self._where}: {path}{path and ': '}{error}") from error

    def value_of(self, kind: Any, value: object, path: str) -> Any:
        """What a field holds."""
        for one in _alternatives(kind):
            arguments = get_args(one) or (None,)
            first, last = arguments[0], arguments[-1]
            if dataclasses.is_dataclass(one) and value is not None:
                return self.object_of(cast("type[Any]", one), value, path)
            if dataclasses.is_dataclass(first) and _are_objects(value):
                each = enumerate(cast("list[object]", value))
                return tuple(self.value_of(first, part, f"{path}[{i}]") for i, part in each)
            if get_origin(one) is Mapping and isinstance(value, dict):
                return {
                    name: self.value_of(last, part, _below(path, name))
                    for name, part in value.items()
                }
        try:
            return fitted(kind, value)
        except Misfit:
            raise ValueError(
                f"{self._where}: field {path} is {_shown(value)}; it must be {wanted(kind)}"
            ) from None

    def _check_known(self, value: Mapping[str, Any], known: Iterable[str], path: str) -> None:
        if unknown := sorted(value.keys() - {*known}):
            near = difflib.get_close_matches(unknown[0], known, n=1)
            advice = f"did you mean {near[0]}?" if near else "remove it"
            raise ValueError(f"{self._where}: unknown field {_below(path, unknown[0])}; {advice}")


def fitted(kind: Any, value: object) -> Any:
    """A value as a type without dataclasses in it has it; a list serves for a tuple.

    Raises:
        Misfit: it is of another type, or a number that is not finite.
    """
    for one in _alternatives(kind):
        with contextlib.suppress(Misfit, OverflowError):
            return _fitted(one, value)
    raise Misfit


def _fitted(kind: Any, value: object) -> Any:
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        return _checked(value, any(value == a and type(value) is type(a) for a in arguments))
    if get_origin(kind) is tuple:
        several = _checked(value, isinstance(value, (list, tuple)))
        kinds = arguments[:1] * len(several) if arguments[-1] is Ellipsis else arguments
        _checked(value, len(several) == len(kinds))
        return tuple(map(fitted, kinds, several))
    if arguments:
        named = _checked(value, isinstance(value, dict))
        return {name: fitted(arguments[-1], one) for name, one in named.items()}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind[_checked(value, isinstance(value, str) and value in kind.__members__)]
    if kind is float:
        number = float(_checked(value, type(value) in (int, float)))
        return _checked(number, math.isfinite(number))
    if kind in (object, Any):
        return value
    # By its very type: true and false are whole numbers in Python, and none here.
    return _checked(value, type(value) is kind)


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _checked(value: Any, fits: bool) -> Any:
    if not fits:
        raise Misfit
    return value


def wanted(kind: Any) -> str:
    """What a value must be, in words."""
    return " or ".join(map(_in_words, _alternatives(kind)))


def _in_words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(repr, get_args(kind)))}"
    if get_origin(kind) is tuple:
        element, *more = get_args(kind)
        count = "" if more[-1:] == [Ellipsis] else f" of {1 + len(more)}"
        if element in (str, int, float):
            return f"a list{count or ' of'} {_SCALARS[element].partition(' ')[2]}s"
        return f"a list{count}, each {wanted(element)}"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return f"one of {', '.join(kind.__members__)}"
    return _SCALARS.get(kind, "an object")


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """The types of `X | Y | None`; otherwise the one there is."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _shown(value: object) -> str:
    return repr(value)[:_MAX_SHOWN]


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
