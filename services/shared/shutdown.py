"""Orderly ends: a signal that asks a process to end sets an event, nothing more.

Those are SIGTERM (from an orchestrator), SIGINT (Ctrl-C) and SIGHUP (the terminal goes away; under
nohup, which ignores it, it stays ignored).

The role's loop looks at the event and stops where its state is whole. The second signal is left to
the event too: whoever must not wait sends SIGKILL, and every role survives that.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType


def install_shutdown_event() -> threading.Event:
    """Catch SIGTERM, SIGINT and SIGHUP; call in the main thread, once per process.

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
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, on_signal)
    return event
