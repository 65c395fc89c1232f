"""Imports Launchpad without its native RPC library.

Launchpad's processes begin with Launchpad's own script, which imports it before any code of ours:
they find the stand-in on their PYTHONPATH.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

_FOLDER = str(Path(__file__).parent)


def import_launchpad() -> ModuleType:
    """Launchpad, imported here and importable in the processes this one starts."""
    if _FOLDER not in sys.path:
        sys.path.insert(0, _FOLDER)
        inherited = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([_FOLDER, *([inherited] if inherited else [])])
    import launchpad

    return launchpad
