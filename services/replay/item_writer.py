"""Writes rows to a Reverb table one after the other, and items over the newest of them.

Actors and the import of recorded data share it. An item is a window of the last
stack + n rows; the one of a step is created when n more rows have been appended (`item_layout`).
Items reach the table in the order of their steps.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Callable
from typing import Any

import reverb
from numpy.typing import NDArray

from services.replay.item_layout import ItemLayout


class ItemWriter:
    """One Reverb writer: rows in, items out.

    Args:
        client: Of the replay server.
        table: Where items go.
        layout: Shapes of rows and items.
        chunk_length: Rows compressed together.
        priority: Asked for each new item's priority.
    """

    def __init__(
        self,
        client: Any,
        table: str,
        layout: ItemLayout,
        chunk_length: int,
        *,
        priority: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self._table = table
        self._layout = layout
        self._priority = priority
        rows_kept = layout.window + chunk_length
        self._writer: Any = client.trajectory_writer(num_keep_alive_refs=rows_kept)
        for column in layout.item_columns():
            self._writer.configure(
                (column,), num_keep_alive_refs=rows_kept, max_chunk_length=chunk_length
            )
        # Whether each of the newest n+1 rows starts an item: the oldest's window is complete.
        self._begins_item: collections.deque[bool] = collections.deque(maxlen=layout.n_step + 1)
        self._items = 0

    @property
    def items(self) -> int:
        """Items created so far, confirmed by the server or not."""
        return self._items

    def append(self, row: dict[str, NDArray[Any]], *, begins_item: bool) -> None:
        """Append a row.

        Args:
            row: As `ItemLayout.row` or `padding_row` makes it.
            begins_item: Whether the item of this row is wanted; the stack - 1 rows before it must
                have been appended.
        """
        self._writer.append(row)
        self._begins_item.append(begins_item)
        if len(self._begins_item) == self._begins_item.maxlen and self._begins_item[0]:
            self._create_item()

    def append_padding(self, count: int) -> None:
        """Append rows of zeros, which start no item."""
        for _ in range(count):
            self.append(self._layout.padding_row(), begins_item=False)

    def flush(self, max_pending: int, timeout_seconds: float) -> bool:
        """Wait until the server has confirmed all but so many items.

        Returns:
            False if it has not within the time.
        """
        try:
            self._writer.flush(max_pending, timeout_ms=max(1, round(1000 * timeout_seconds)))
        except reverb.errors.DeadlineExceededError:
            return False
        return True

    def close(self) -> None:
        """Drop unconfirmed items, without waiting; ends the writer."""
        if self._writer is not None:
            self._writer.close()
            # Frees its connection: gRPC would give the next client the same one, dead or not.
            self._writer = None

    def _create_item(self) -> None:
        """The item of the row n rows back.

        Raises:
            ValueError: a priority that would spoil all draws of the table.
        """
        priority = self._priority()
        if not 0 <= priority < math.inf:
            raise ValueError(f"priority of a new item is {priority}; it must lie in [0, inf)")
        rows = self._writer.history
        step = -(self._layout.n_step + 1)
        self._writer.create_item(
            table=self._table,
            priority=priority,
            trajectory={
                "action": rows["action"][step],
                "frame": rows["frame"][-self._layout.window :],
                "has_teacher": rows["has_teacher"][step],
                "reward": rows["reward"][step:-1],
                "teacher_q": rows["teacher_q"][step],
                "terminated": rows["terminated"][step:-1],
                "valid": rows["valid"][step:-1],
            },
        )
        self._items += 1
