"""Which tables a replay role serves."""

from __future__ import annotations

import dataclasses

EMPTY = 0
"""Checkpoint number of tables that started empty."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServedTables:
    """Which tables are served.

    Attributes:
        generation: Changes whenever tables are loaded, at the start of the process too.
        checkpoint: Number of the checkpoint that was loaded; `EMPTY` for tables that started empty.
    """

    generation: str
    checkpoint: int
