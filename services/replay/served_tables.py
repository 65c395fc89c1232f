"""Which tables a replay role serves."""

from __future__ import annotations

import dataclasses

EMPTY = 0
"""Checkpoint number that stands for empty tables."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServedTables:
    """Which tables are served.

    Attributes:
        generation: Random name, which changes whenever tables are loaded, also at the start.
        checkpoint: Number of the checkpoint that was loaded; `EMPTY` for tables that started empty.
    """

    generation: str
    checkpoint: int
