"""Counts threads of this process that Python does not list.

Libraries start them, and a process that has any cannot fork. NumPy's do not count: its matrix
library ends them before a fork and restarts them after it. They are counted when this module is
imported, so import it before any user code.
"""

from __future__ import annotations

import os
import threading

# Its threads start on import.
import numpy as np  # noqa: F401


def native_threads() -> int:
    """Threads other than those of `threading`, including NumPy's."""
    return len(os.listdir("/proc/self/task")) - threading.active_count()


NUMPYS_THREADS = native_threads()
"""How many of them belong to NumPy."""
