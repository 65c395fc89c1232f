"""Items as they come from a table, row by row, before they are decoded."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from services.replay.item_layout import Columns


@dataclasses.dataclass(frozen=True)
class Rows:
    """Sampled items, row by row.

    Attributes:
        columns: The columns of `ItemLayout.item_columns`, each with a leading axis R.
        item_key: uint64 [R], Reverb's key of each item.
        relative_probability: float64 [R], the probability of the draw times the items that the
            table held then: 1 where all are as likely.
    """

    columns: Columns
    item_key: NDArray[np.uint64]
    relative_probability: NDArray[np.float64]

    @property
    def count(self) -> int:
        """Rows R."""
        return len(self.item_key)

    def rows(self, chosen: slice | NDArray[np.int64]) -> Rows:
        """Some of the rows: views of a slice, copies of those with these numbers."""
        return Rows(
            {name: column[chosen] for name, column in self.columns.items()},
            self.item_key[chosen],
            self.relative_probability[chosen],
        )


def concatenate(blocks: list[Rows]) -> Rows:
    """Blocks one after the other."""
    if len(blocks) == 1:
        return blocks[0]
    return Rows(
        {
            name: np.concatenate([block.columns[name] for block in blocks])
            for name in blocks[0].columns
        },
        np.concatenate([block.item_key for block in blocks]),
        np.concatenate([block.relative_probability for block in blocks]),
    )
