"""Orderly shutdown: a signal that asks a process to end only sets an event.

The signals are SIGTERM (from an orchestrator), SIGINT (Ctrl-C) and SIGHUP (the terminal closes;
under nohup it stays ignored).

A role's loop checks the event and stops where its state is consistent. Further signals change
nothing: send SIGKILL to stop at once, which every role's data survives.
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

    # Started now: when the signal arrives, no new thread may be available.
    threading.Thread(target=wait, name="shutdown", daemon=True).start()

    def on_signal(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        # Not `event.set`: this thread may be inside `event.wait`, which holds the lock that `set`
        # takes.
        with contextlib.suppress(BlockingIOError):
            os.write(writer, b"\0")

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, on_signal)
    return event
