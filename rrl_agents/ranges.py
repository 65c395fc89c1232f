"""Checks of settings' numbers and words, with the same wording for all."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection

_BOUNDS = {
    "least": ("at least", operator.ge),
    "above": ("above", operator.gt),
    "most": ("at most", operator.le),
    "below": ("below", operator.lt),
}
"""The wording of each bound, and its comparison of a number with the bound."""


def check_range(name: str, value: float, **bounds: float) -> None:
    """Refuse a number that is not finite or lies outside its bounds.

    Args:
        name: Name of the number, for the message.
        value: The number.
        bounds: Inclusive bounds `least` and `most`, exclusive bounds `above` and `below`.

    Raises:
        ValueError: It is out of range; names the allowed range.
    """
    fits = all(_BOUNDS[kind][1](value, bound) for kind, bound in bounds.items())
    if not math.isfinite(value) or not fits:
        allowed = [f"{_BOUNDS[kind][0]} {bound}" for kind, bound in bounds.items()]
        words = " and ".join(allowed) or "that is finite"
        raise ValueError(f"{name} is {value}; use a number {words}")


def check_ranges(record: object, *fields: str, **bounds: float) -> None:
    """Refuse a record with a field out of range; None is accepted. Bounds as in `check_range`."""
    for field in fields:
        value = getattr(record, field)
        if value is not None:
            check_range(field, value, **bounds)


def check_known(record: object, field: str, known: Collection[str]) -> None:
    """Refuse a record with an unknown word; None is accepted."""
    value = getattr(record, field)
    if value is not None and value not in known:
        raise ValueError(f"{field} is {value!r}; known are {', '.join(known)}")
