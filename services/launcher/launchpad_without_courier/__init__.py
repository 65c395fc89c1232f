"""Launchpad without its native RPC library, which is bound to CPython 3.10.

Import it from here. The processes it starts run Launchpad's own script, which imports Launchpad
before any code of ours: they find the stand-in on their PYTHONPATH.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_FOLDER = str(Path(__file__).parent)

sys.path.insert(0, _FOLDER)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_FOLDER, os.environ.get("PYTHONPATH"))))

import launchpad  # noqa: E402
from launchpad.nodes.python.local_multi_processing import PythonProcess  # noqa: E402

__all__ = ["PythonProcess", "launchpad"]
