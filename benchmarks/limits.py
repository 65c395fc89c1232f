"""A time limit for a benchmark: one that hangs ends with an error that says where."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
from types import FrameType

import psutil

GRACE_SECONDS = 30.0
"""Time to stop the processes that were started, before all are killed."""


def end_within(seconds: float, *, grace_seconds: float = GRACE_SECONDS) -> None:
    """End this process with an error once `seconds` have passed; call it in the main thread.

    The main thread leaves by `SystemExit`, so that its `with` blocks clean up. Where that does not
    happen within `grace_seconds` (it may be blocked in native code), the process and all below it
    are killed.
    """

    def leave(signal_number: int, frame: FrameType | None) -> None:
        del signal_number, frame
        faulthandler.dump_traceback()
        sys.exit(
            f"not finished within {seconds:g} s, the places above are where it stood; on a slow "
            "machine raise --limit-seconds"
        )

    def kill() -> None:
        time.sleep(seconds + grace_seconds)
        print(f"still running {grace_seconds:g} s after its limit: killed", file=sys.stderr)
        sys.stderr.flush()
        for child in psutil.Process().children(recursive=True):
            child.kill()
        os._exit(1)

    signal.signal(signal.SIGALRM, leave)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    threading.Thread(target=kill, daemon=True).start()
