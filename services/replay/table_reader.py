"""Reads tables that give each item once, into rows kept in this process."""

from __future__ import annotations

from collections.abc import Sequence

from services.replay.connection import table_counts
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

    @property
    def size(self) -> int:
        """Items in all tables now.

        Raises:
            ReplayTimeout: a server does not answer.
        """
        return sum(table_counts(address)[self._table].size for address in self._addresses)

    def read(self) -> KeptRows:
        """All items. The tables have fewer afterwards, also where it fails.

        Raises:
            ReplayTimeout: a server does not answer.
            SamplingFailed: a server is down, or refused to sample; or items were lost on the way.
            UserError: a server has no such table, or one of other shapes.
            ValueError: the tables are empty.
        """
        keeper = RowKeeper(self._layout)
        for address in self._addresses:
            for block in read_once(address, self._table, self._layout):
                keeper.add(block)
        return keeper.rows()
