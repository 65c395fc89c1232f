"""Where prior work lies on this machine.

    CACHE/checkpoints/<Game>/<agent>-run<k>/   fetched: checkpoints/ and source.json
    CACHE/exported/<Game>/<name>/              our students as teachers: a teacher's directory

CACHE is $RRL_CACHE, or ~/.cache/rrl.
"""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "RRL_CACHE"


def cache_directory() -> Path:
    """The folder of everything fetched and exported; it may not exist yet."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given) if given else Path.home() / ".cache" / "rrl"


def fetched_directory() -> Path:
    """Where fetched checkpoints lie."""
    return cache_directory() / "checkpoints"


def exported_directory() -> Path:
    """Where exported students lie."""
    return cache_directory() / "exported"
