"""Orderly ends: a signal that asks a process to end sets an event, nothing more.

Those are SIGTERM (from an orchestrator), SIGINT (Ctrl-C) and SIGHUP (the terminal goes away; under
nohup, which ignores it, it stays ignored).

The role's loop looks at the event and stops where its state is whole. The second signal is left to
the event too: send SIGKILL to stop at once; every role's data survives that.
"""

from __future__ import annotations

import contextlib
import os
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
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def wait() -> None:
        os.read(reader, 1)
        event.set()

    # There from the beginning: when the signal comes, there may be no thread to be had.
    threading.Thread(target=wait, name="shutdown", daemon=True).start()

    def on_signal(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        # Not `event.set`: this thread may be inside `event.wait`, holding the lock that it takes.
        with contextlib.suppress(BlockingIOError):
            os.write(writer, b"\0")

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, on_signal)
    return event
