"""Reconstructs the episodes in a saved table, each row once and in chronological order.

The rows of an item are consecutive steps, so all items together determine which row follows which.
If the oldest items of an episode have left the table, the rest of the episode is returned.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rrl_agents.checkpoints.minari_files.writing import PlayedEpisode
from services.replay.item_layout import ItemLayout
from services.replay.local_table import SavedTable
from services.replay.row_ring import PADDING_ROW


def table_episodes(saved: SavedTable, layout: ItemLayout) -> Iterator[PlayedEpisode]:
    """Read a table's episodes, in the order in which they began.

    Args:
        saved: The table; `LocalTable.restore` has checked it.
        layout: Shapes of its rows and items.

    Raises:
        ValueError: an item's rows are not in chronological order, so that an episode might not end.
    """
    rows = saved.rows.view(layout.row_dtype)[:, 0]
    before, after = saved.items[:, :-1].ravel(), saved.items[:, 1:].ravel()
    are_rows = (before != PADDING_ROW) & (after != PADDING_ROW)
    if (before >= after)[are_rows].any():
        raise ValueError("the rows of an item are not in chronological order; restore the table")
    follower = np.zeros(len(rows), np.int64)
    follower[before[are_rows] - saved.oldest_row] = after[are_rows]
    shown = np.unique(saved.items[saved.items != PADDING_ROW])
    for first in np.setdiff1d(shown, after[are_rows]):
        places = [int(first) - saved.oldest_row]
        while (number := int(follower[places[-1]])) != PADDING_ROW:
            places.append(number - saved.oldest_row)
        episode = rows[places]
        yield PlayedEpisode(
            frames=[*episode["frame"]],
            action=episode["action"],
            reward=episode["reward"],
            terminated=bool(episode["terminated"][-1]),
        )
