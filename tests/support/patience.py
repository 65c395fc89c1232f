"""Waiting for what must come, long enough for a loaded machine."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_SECONDS = 300.0
"""Against hangs only: a wait ends as soon as what it waits for is there."""

_LOOK_SECONDS = 0.01


def wait_until(is_so: Callable[[], object], what: str = "it is so") -> None:
    """Return once a condition holds.

    Args:
        is_so: Asked again and again; true in the end.
        what: The condition in words, for the failure.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < end, f"not so after {PATIENCE_SECONDS:g} s: {what}"
        time.sleep(_LOOK_SECONDS)
