"""Launchpad without its native RPC library, which is bound to CPython 3.10: import it from here.

Processes that Launchpad starts run its own script, which imports Launchpad before any of our code:
`PROCESS_ENVIRONMENT` lets them find the stand-in.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_FOLDER = str(Path(__file__).parent)

PROCESS_ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join(filter(None, (_FOLDER, os.environ.get("PYTHONPATH"))))
}
"""Environment variables for processes that Launchpad starts."""

if _FOLDER not in sys.path:
    sys.path.insert(0, _FOLDER)

import launchpad  # noqa: E402
from launchpad.launch.worker_manager import WorkerManager  # noqa: E402
from launchpad.nodes.python.local_multi_processing import PythonProcess  # noqa: E402

__all__ = ["PROCESS_ENVIRONMENT", "PythonProcess", "WorkerManager", "launchpad"]
