"""Reads all items of tables that give each item once, and keeps them in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.replay.connection import connect, table_counts
from services.replay.failures import SamplingFailed
from services.replay.item_layout import ItemLayout
from services.replay.kept_rows import KeptRows, RowKeeper
from services.replay.sample_stream import SampleStream
from services.replay.undecoded_rows import Rows

_BLOCK_ROWS = 256
_TIMEOUT_MS = 10_000
"""A complete table gives its next item at once. If none comes in this time, items were lost when a
connection broke."""


class TableReader:
    """Reads one table of several servers, which give each item once, as a single table.

    Args:
        addresses: "host:port" of each replay server.
        table: Name of the table.
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
        """Read all items, which removes them from the tables, even if the read fails later.

        Raises:
            ReplayTimeout: a server does not answer.
            SamplingFailed: a server is down, or refused to sample; or items were lost in transit.
            UserError: a server has no such table, or one with items of other shapes.
            ValueError: the tables are empty.
        """
        keeper = RowKeeper(self._layout)
        for address in self._addresses:
            for block in read_once(address, self._table, self._layout):
                keeper.add(block)
        return keeper.rows()


def read_once(address: str, table: str, layout: ItemLayout) -> Iterator[Rows]:
    """Read all items that a table holds now, in blocks; the table gives each item once.

    Raises:
        ReplayTimeout: the server does not answer.
        SamplingFailed: the server is down, or refused to sample; or items were lost in transit.
        UserError: the table is missing, or holds items of other shapes.
    """
    connect(address, table, layout, timeout_seconds=10.0)
    missing = items = table_counts(address)[table].size
    if not items:
        return
    stream = SampleStream(
        address, table, layout, block_rows=_BLOCK_ROWS, items=items, timeout_ms=_TIMEOUT_MS
    )
    if not stream.open():
        raise SamplingFailed(f"the replay server at {address} is unavailable")
    while (rows := stream.next_block()) is not None:
        missing -= rows.count
        yield rows
    if missing:
        raise SamplingFailed(f"{missing} of {items} items of {table!r} were lost in transit")
