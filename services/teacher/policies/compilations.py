"""How often XLA has compiled in this process: after the warm-up it should be never."""

from __future__ import annotations

import functools
import threading

from jax import monitoring

_COMPILED = "/jax/core/compile/backend_compile_duration"


class _Counter:
    """Counts JAX's compilation events, which come from whatever thread compiles."""

    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()

    def listen(self, event: str, duration_secs: float, **_details: str | int) -> None:
        """Take note of one event; the names are JAX's."""
        if event == _COMPILED:
            with self._lock:
                self.value += 1


@functools.cache
def _counter() -> _Counter:
    counter = _Counter()
    monitoring.register_event_duration_secs_listener(counter.listen)
    return counter


def compilations() -> int:
    """XLA compilations since the first call of this function in this process."""
    return _counter().value
