"""Orderly ends: SIGTERM (from an orchestrator) and SIGINT (Ctrl-C) set an event, nothing more.

The role's loop looks at the event and stops where its state is whole. The second signal is left to
the event too: whoever must not wait sends SIGKILL, and every role survives that.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType


def install_shutdown_event() -> threading.Event:
    """Catch SIGTERM and SIGINT; call in the main thread, once per process.

    Returns:
        An event that is set by the first of these signals.

    Raises:
        ValueError: Called outside the main thread (Python's rule for signal handlers).
    """
    event = threading.Event()

    def on_signal(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        # Not here: this thread may be inside `event.wait`, holding the lock that `set` takes.
        threading.Thread(target=event.set, name="shutdown", daemon=True).start()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return event
