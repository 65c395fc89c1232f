"""How tyro reads flags, for every command.

Numbers must be finite, and whole numbers must fit 64 bits. NaN would pass the range checks and
silently spoil a whole run; a number too large for an array would crash a role during the run.
"""

from __future__ import annotations

import math
from typing import Any

from tyro.conf import create_mutex_group
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from rrl_agents.typed_json import LARGEST_WHOLE

FLAG_TYPES = ConstructorRegistry()
"""The registry for `tyro.cli`."""

ASKED = create_mutex_group(required=True, title="teacher to query")
"""Exactly one of the flags with this annotation must be given."""


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
