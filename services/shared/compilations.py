"""Counts XLA compilations in this process; after the warm-up there should be none."""

from __future__ import annotations

import functools

from jax import monitoring

_COMPILED = "/jax/core/compile/backend_compile_duration"


@functools.cache
def _events() -> list[str]:
    """JAX's compilation events, from whichever thread compiles."""
    events: list[str] = []

    def listen(event: str, duration_secs: float, **_details: str | int) -> None:
        if event == _COMPILED:
            events.append(event)

    monitoring.register_event_duration_secs_listener(listen)
    return events


def compilations() -> int:
    """XLA compilations since the first call of this function in this process."""
    return len(_events())
