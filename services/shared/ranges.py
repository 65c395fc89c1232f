"""Checks of a config's fields, which raise ValueError; None is in every range."""

from __future__ import annotations

import math
from collections.abc import Collection


def check_range(config: object, *names: str, least: float, most: float = math.inf) -> None:
    """See that fields are finite and lie in a range, its ends included."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not (math.isfinite(value) and least <= value <= most):
            upper = " or more" if most == math.inf else f" to {most}"
            raise ValueError(f"{name} is {value}; give {least}{upper}")


def check_above_zero(config: object, *names: str) -> None:
    """See that fields are above 0."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} is {value}; it must be above 0")


def check_known(config: object, name: str, known: Collection[str]) -> None:
    """See that a field is one of a few words."""
    value = getattr(config, name)
    if value is not None and value not in known:
        raise ValueError(f"{name} is {value!r}; known are {', '.join(known)}")
