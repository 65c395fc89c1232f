"""Numbers and words that settings may have: one check and one wording for all of them."""

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
"""How each bound is worded, and what holds of a number and the bound."""


def check_range(name: str, value: float, **bounds: float) -> None:
    """Refuse a number that is not finite or lies outside its bounds.

    Args:
        name: What the number is, for the message.
        value: The number.
        bounds: `least` and `most`, which are allowed, `above` and `below`, which are not.

    Raises:
        ValueError: It is outside; says what is allowed.
    """
    fits = all(_BOUNDS[kind][1](value, bound) for kind, bound in bounds.items())
    if not math.isfinite(value) or not fits:
        allowed = [f"{_BOUNDS[kind][0]} {bound}" for kind, bound in bounds.items()]
        words = " and ".join(allowed) or "that is finite"
        raise ValueError(f"{name} is {value}; use a number {words}")


def check_ranges(record: object, *fields: str, **bounds: float) -> None:
    """Refuse a record with a field out of range; None stands. Bounds as of `check_range`."""
    for field in fields:
        value = getattr(record, field)
        if value is not None:
            check_range(field, value, **bounds)


def check_known(record: object, field: str, known: Collection[str]) -> None:
    """Refuse a record with a word that is not known; None stands."""
    value = getattr(record, field)
    if value is not None and value not in known:
        raise ValueError(f"{field} is {value!r}; known are {', '.join(known)}")
