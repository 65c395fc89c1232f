"""How tyro reads the values of flags, for every command.

A number among the flags is a finite one, and a whole one fits 64 bits: NaN passes every comparison
of a check, and a run would train to the end with it; what no array holds ends a role in its midst.
"""

from __future__ import annotations

import math

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from rrl_agents.typed_json import LARGEST_WHOLE

FLAG_TYPES = ConstructorRegistry()
"""Given to `tyro.cli` as its registry."""


@FLAG_TYPES.primitive_rule
def _finite_number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[float] | None:
    if info.type is not float:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="FLOAT",
        instance_from_str=lambda words: _finite(words[0]),
        is_instance=lambda value: isinstance(value, int | float),
        str_from_instance=lambda value: [str(value)],
    )


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(f"{word} is not a finite number")
    return number


@FLAG_TYPES.primitive_rule
def _whole_number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: _whole(words[0]),
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    )


def _whole(word: str) -> int:
    number = int(word)
    if abs(number) > LARGEST_WHOLE:
        raise ValueError(f"{word} has more than 18 digits")
    return number
