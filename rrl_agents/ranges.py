"""Numbers and words that settings may have: one check and one wording for all of them."""

from __future__ import annotations

import math
from collections.abc import Collection


def check_range(
    name: str,
    value: float,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> None:
    """Refuse a number that is not finite or lies outside its bounds.

    Args:
        name: What the number is, for the message.
        value: The number.
        least: Smallest one allowed.
        most: Largest one allowed.
        above: Largest one that is too small.
        below: Smallest one that is too large.

    Raises:
        ValueError: It is outside; says what is allowed.
    """
    bounds = {"at least": least, "above": above, "at most": most, "below": below}
    fits = (
        math.isfinite(value)
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    )
    if not fits:
        allowed = [f"{word} {bound}" for word, bound in bounds.items() if bound is not None]
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
