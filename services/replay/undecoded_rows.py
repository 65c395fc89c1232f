"""Items as sampled from a table, before they are decoded into transitions."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from services.replay.item_layout import Columns


@dataclasses.dataclass(frozen=True)
class Rows:
    """R sampled items.

    Attributes:
        columns: The columns of `ItemLayout.item_columns`, each with a leading axis R.
        item_key: uint64 [R], the key of each item in its table.
        relative_probability: float64 [R], the probability of the draw times the number of items in
            the table at that time: 1 if all items are equally likely.
    """

    columns: Columns
    item_key: NDArray[np.uint64]
    relative_probability: NDArray[np.float64]

    @property
    def count(self) -> int:
        """Rows R."""
        return len(self.item_key)

    def rows(self, chosen: slice | NDArray[np.int64]) -> Rows:
        """Some of the rows: views for a slice, copies for an array of row numbers."""
        return Rows(
            {name: column[chosen] for name, column in self.columns.items()},
            self.item_key[chosen],
            self.relative_probability[chosen],
        )


def concatenate(blocks: list[Rows]) -> Rows:
    """All rows of the blocks, in order; a single block is returned as it is."""
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
