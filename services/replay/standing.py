"""Which tables a replay role serves."""

from __future__ import annotations

import dataclasses

EMPTY = 0
"""Number of the commit that stands for tables without items."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """Which tables are served.

    Attributes:
        incarnation: Changes whenever tables are loaded, at the start of the process too.
        commit: Number of the commit that was loaded; `EMPTY` for tables that began empty.
    """

    incarnation: str
    commit: int
