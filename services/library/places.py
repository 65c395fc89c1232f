"""Where prior work lies on this machine.

    CACHE/compiled/<processor>/                functions that JAX has compiled, for later runs
    CACHE/checkpoints/<Game>/<agent>-run<k>/   fetched: checkpoints/ and source.json
    CACHE/downloads/<key>/<file or folder>     what a URL names
    CACHE/exported/<Game>/<name>/              our students as teachers: a teacher's directory
    CACHE/imported/<Game>/<name>/              imported by hand under a name: a teacher's directory
    CACHE/imported/<key>/                      all that was imported, by its content

CACHE is $RRL_CACHE, or ~/.cache/rrl.
"""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "RRL_CACHE"


def cache_directory() -> Path:
    """The folder of everything fetched, imported and exported; it may not exist yet."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    try:
        home = Path.home()
    except RuntimeError:
        # A container's user may be a bare number. It gets the home that Debian gives to those who
        # have none: nothing lies there, and nothing can be written.
        home = Path("/nonexistent")
    return home / ".cache" / "rrl"


def compiled_directory() -> Path:
    """Where compiled functions lie."""
    return cache_directory() / "compiled"


def exported_directory() -> Path:
    """Where exported students lie."""
    return cache_directory() / "exported"


def imported_directory() -> Path:
    """Where imported work lies."""
    return cache_directory() / "imported"
