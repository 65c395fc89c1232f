"""Reads tables that give each item once, into rows kept in this process."""

from __future__ import annotations

from collections.abc import Sequence

from services.replay.item_layout import ItemLayout
from services.replay.kept_rows import KeptRows, RowKeeper
from services.replay.sample_prefetcher import read_once


class TableReader:
    """Reads tables that give each item once, as if they were one.

    Args:
        addresses: "host:port" of each replay server.
        table: Its table.
        layout: Shapes of the items.
    """

    def __init__(self, addresses: Sequence[str], table: str, layout: ItemLayout) -> None:
        self._addresses = tuple(addresses)
        self._table = table
        self._layout = layout
        self._keeper = RowKeeper(layout)

    def read(self) -> KeptRows:
        """All items; after an interruption the next call reads the rest.

        Raises:
            ReplayTimeout: a server does not answer.
            SamplingFailed: a server is down, or refused to sample.
            ValueError: the tables are empty.
        """
        for address in self._addresses:
            for block in read_once(address, self._table, self._layout):
                self._keeper.add(block)
        kept, self._keeper = self._keeper.rows(), RowKeeper(self._layout)
        return kept
