"""Threads of this process that Python does not list.

Libraries start them, and a process that has some cannot be copied. Those of NumPy are none of
these: its library for matrices ends them before a fork, and starts them again after it. They are
counted when this module is imported, so before any code of a user's own is.
"""

from __future__ import annotations

import os
import threading

# Its threads start with it.
import numpy as np  # noqa: F401


def native_threads() -> int:
    """Threads beside those of `threading`, NumPy's included."""
    return len(os.listdir("/proc/self/task")) - threading.active_count()


NUMPYS_THREADS = native_threads()
"""How many of them are NumPy's."""
