"""The folders of the cache on this machine.

    CACHE/compiled/<processor>/                functions that JAX has compiled, for later runs
    CACHE/checkpoints/<Game>/<agent>-run<k>/   fetched: checkpoints/ and source.json
    CACHE/downloads/<key>/<file or folder>     downloaded from a URL
    CACHE/exported/<Game>/<name>/              our students as teachers: a teacher's directory
    CACHE/imported/<Game>/<name>/              imported by hand under a name: a teacher's directory
    CACHE/imported/<key>/                      everything imported, by its content

CACHE is $RRL_CACHE, or ~/.cache/rrl.
"""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "RRL_CACHE"


def cache_directory() -> Path:
    """The cache folder; it may not exist yet."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    try:
        home = Path.home()
    except RuntimeError:
        # A container's user may be only a number. It gets Debian's home for users without one,
        # which does not exist and cannot be written.
        home = Path("/nonexistent")
    return home / ".cache" / "rrl"


def compiled_directory() -> Path:
    """Folder of compiled functions."""
    return cache_directory() / "compiled"


def exported_directory() -> Path:
    """Folder of exported students."""
    return cache_directory() / "exported"


def imported_directory() -> Path:
    """Folder of imported teachers."""
    return cache_directory() / "imported"
