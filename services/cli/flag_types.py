"""How tyro reads flags, for every command.

A number among the flags is a finite one, and a whole one fits 64 bits: NaN passes every comparison
of a check, and a run would train to the end with it; what no array holds ends a role in its midst.
"""

from __future__ import annotations

import math
from typing import Any

from tyro.conf import create_mutex_group
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from rrl_agents.typed_json import LARGEST_WHOLE

FLAG_TYPES = ConstructorRegistry()
"""Given to `tyro.cli` as its registry."""

ASKED = create_mutex_group(required=True, title="what is asked")
"""Of the flags that are annotated with it exactly one is given."""


@FLAG_TYPES.primitive_rule
def _number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    if info.type not in (int, float):
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=info.type.__name__.upper(),
        instance_from_str=lambda words: _whole(words[0]) if info.type is int else _finite(words[0]),
        is_instance=lambda value: isinstance(value, (int, info.type)),
        str_from_instance=lambda value: [str(value)],
    )


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(f"{word} is not a finite number")
    return number


def _whole(word: str) -> int:
    number = int(word)
    if abs(number) > LARGEST_WHOLE:
        raise ValueError(f"{word} has more than 18 digits")
    return number
