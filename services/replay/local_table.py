"""A replay table in this process, which stores rows once and items as lists of row numbers.

    LocalItemWriter --rows, windows--> LocalTable --draw--> Rows

For one thread, it does what the Reverb tables of `tables` do: a full table drops its oldest item;
draws are uniform, or in proportion to priorities raised to an exponent; a table can be limited to a
number of items over the whole run. Drawn items have the columns of `item_layout`, as if they came
from Reverb.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.replay.item_layout import ItemLayout
from services.replay.row_ring import PADDING_ROW, RowRing
from services.replay.sum_tree import SumTree
from services.replay.undecoded_rows import Rows

_FIRST_ITEMS = 1024
_SMALLEST_PRIORITY = 1e-10
"""Added to new priorities, as in Dopamine: an item of priority 0 would never be drawn again."""


@dataclasses.dataclass(frozen=True)
class SavedTable:
    """What a checkpoint keeps of a table.

    Attributes:
        oldest_row: Number of the first of `rows`.
        rows: `ItemLayout.row_dtype` [F], as bytes: uint8 [F, row bytes].
        inserted: Items ever inserted.
        items: int64 [N, window], the numbers of their rows, oldest item first.
        priorities: float64 [N], raised to the table's exponent.
        largest_priority: As `LocalTable.largest_priority`.
    """

    oldest_row: int
    rows: NDArray[np.uint8]
    inserted: int
    items: NDArray[np.int64]
    priorities: NDArray[np.float64]
    largest_priority: float


class LocalTable:
    """Items in the order of their insertion; their keys count from 0.

    Args:
        layout: Shapes of rows and items.
        capacity: Most items at a time, at least 1.
        most_inserted: Most items over the whole run; further ones are dropped. None for no limit.
        priority_exponent: Power to which priorities are raised, at least 0; 0 draws uniformly.

    Attributes:
        inserted: Items ever inserted.
        largest_priority: Largest priority given to `update_priorities`, 0 before the first.
    """

    def __init__(
        self,
        layout: ItemLayout,
        capacity: int,
        *,
        most_inserted: int | None = None,
        priority_exponent: float = 0.0,
    ) -> None:
        self._layout = layout
        self._capacity = capacity
        self._most_inserted = most_inserted
        self._exponent = priority_exponent
        self._tree = SumTree(capacity) if priority_exponent > 0.0 else None
        # Priorities of the items inserted since the last draw.
        self._new_priorities: list[float] = []
        self._rows = RowRing(layout.row_dtype, self._oldest_needed)
        self._items = np.zeros((min(capacity, _FIRST_ITEMS), layout.window), np.int64)
        # The newest rows of each writer, which may be in no item yet.
        self._windows: list[collections.deque[int]] = []
        self.inserted = 0
        self.largest_priority = 0.0

    @property
    def count(self) -> int:
        """Items in the table now."""
        return min(self.inserted, self._capacity)

    @property
    def is_complete(self) -> bool:
        """Whether the table takes no more items."""
        return self.inserted == self._most_inserted

    def writer(self, priority: Callable[[], float] = lambda: 1.0) -> LocalItemWriter:
        """Make a writer of items.

        Args:
            priority: Called when an item is created; returns the item's priority, at least 0.
        """
        window: collections.deque[int] = collections.deque(maxlen=self._layout.window)
        self._windows.append(window)
        return LocalItemWriter(self, self._layout, window, priority)

    def forget_writers(self) -> None:
        """Release the rows that only earlier writers need; their items stay.

        These writers must not be used afterwards.
        """
        self._windows.clear()

    def add_row(self, row: NDArray[np.void]) -> int:
        """Store a row; returns its number."""
        return self._rows.append(row)

    def insert(self, window: Sequence[int], priority: float) -> None:
        """Insert an item, unless the table is complete; a full table drops its oldest item.

        Args:
            window: The numbers of the item's rows.
            priority: The item's priority until it is first learned from, in [0, inf).

        Raises:
            ValueError: the priority is negative or not finite.
        """
        if not 0 <= priority < math.inf:
            raise ValueError(f"priority of a new item is {priority}; it must lie in [0, inf)")
        if self.is_complete:
            return
        if self.inserted == len(self._items) < self._capacity:
            size = min(self._capacity, 2 * len(self._items))
            self._items = np.concatenate(
                [self._items, np.zeros((size - len(self._items), self._layout.window), np.int64)]
            )
        self._items[self.inserted % self._capacity] = window
        self.inserted += 1
        if self._tree is not None:
            self._new_priorities.append(priority)

    def draw_uniformly(self, count: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Draw keys of items uniformly, with replacement: int64 [count]."""
        return self.inserted - self.count + random.integers(self.count, size=count)

    def draw(self, count: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Draw keys of items in proportion to their priorities, with replacement: int64 [count]."""
        tree = self._up_to_date_tree()
        if tree is None or tree.total <= 0.0:
            return self.draw_uniformly(count, random)
        places = tree.draw(random.random(count))
        # Many keys share a place; the item there now has the newest of them.
        newest = self.inserted - 1
        return newest - (newest - places) % self._capacity

    def rows_of(self, keys: NDArray[np.int64]) -> Rows:
        """The items with these keys, int64 [R], with their relative probabilities."""
        rows = self._rows.rows(self._items[keys % self._capacity])
        tree = self._up_to_date_tree()
        probability = np.ones(len(keys))
        if tree is not None and tree.total > 0.0:
            probability = tree.weights(keys % self._capacity) / tree.total * self.count
        return Rows(
            self._layout.columns(rows[..., None].view(np.uint8)),
            item_key=keys.astype(np.uint64),
            relative_probability=probability,
        )

    def update_priorities(
        self, keys: NDArray[np.uint64], priorities: NDArray[np.floating[Any]]
    ) -> None:
        """Give items new priorities; skips items that have left the table and invalid priorities.

        Args:
            keys: uint64 [R]; if a key occurs twice, its last priority counts.
            priorities: float [R]; negative and non-finite ones are skipped.
        """
        tree = self._up_to_date_tree()
        if tree is None:
            return
        places = keys.astype(np.int64)
        values = priorities.astype(np.float64)
        counts = (places >= self.inserted - self.count) & (values >= 0) & (values < np.inf)
        if counts.any():
            values = values[counts] + _SMALLEST_PRIORITY
            tree.set(places[counts] % self._capacity, values**self._exponent)
            self.largest_priority = max(self.largest_priority, float(values.max()))

    def save(self) -> SavedTable:
        """The table's content, for `restore`; leaves out rows that are in no item yet."""
        keys = np.arange(self.inserted - self.count, self.inserted)
        places, tree = keys % self._capacity, self._up_to_date_tree()
        items = self._items[places]
        oldest = self._oldest_shown()
        rows = self._rows.since(oldest)
        return SavedTable(
            oldest_row=oldest,
            rows=rows[:, None].view(np.uint8),
            inserted=self.inserted,
            items=items,
            priorities=np.ones(len(keys)) if tree is None else tree.weights(places),
            largest_priority=self.largest_priority,
        )

    def restore(self, saved: SavedTable) -> None:
        """Replace the table's content by a saved one.

        Raises:
            ValueError: it has another layout or capacity, or its items refer to missing rows.
        """
        self._check(saved)
        self._windows.clear()
        self._new_priorities.clear()
        self._rows.restore(saved.oldest_row, saved.rows.view(self._layout.row_dtype)[:, 0])
        self.inserted, self.largest_priority = saved.inserted, saved.largest_priority
        places = np.arange(self.inserted - self.count, self.inserted) % self._capacity
        size = self._capacity if self.inserted > self._capacity else max(1, self.count)
        self._items = np.zeros((size, self._layout.window), np.int64)
        self._items[places] = saved.items
        if self._tree is not None:
            self._tree = SumTree(self._capacity)
            self._tree.set(places, saved.priorities)

    def _check(self, saved: SavedTable) -> None:
        layout, count = self._layout, min(saved.inserted, self._capacity)
        shapes = (saved.rows.shape[1:], saved.items.shape, saved.priorities.shape)
        if shapes != ((layout.row_dtype.itemsize,), (count, layout.window), (count,)):
            raise ValueError("the items have other shapes than those of this run")
        shown = saved.items[saved.items != PADDING_ROW]
        first, last = saved.oldest_row, saved.oldest_row + len(saved.rows) - 1
        if first < 1 or (shown.size and (shown.min() < first or shown.max() > last)):
            raise ValueError("the items refer to rows that are missing")
        if not ((saved.priorities >= 0) & (saved.priorities < np.inf)).all():
            raise ValueError("a priority is negative or not finite")

    def _oldest_shown(self) -> int:
        """Smallest number of a row that an item refers to."""
        items = self._items[: self.count]
        return int(items.min(initial=self._rows.next_number, where=items != PADDING_ROW))

    def _oldest_needed(self) -> int:
        """Smallest number of a row that an item refers to, or that a future item may."""
        numbers = (number for window in self._windows for number in window if number != PADDING_ROW)
        return min(self._oldest_shown(), *numbers, self._rows.next_number)

    def _up_to_date_tree(self) -> SumTree | None:
        """The sum tree with all new items added; None for a table that is drawn uniformly."""
        if self._tree is not None and self._new_priorities:
            # If more items came than the table holds, only the newest are in it.
            new = np.asarray(self._new_priorities[-self._capacity :], np.float64)
            places = np.arange(self.inserted - len(new), self.inserted) % self._capacity
            self._tree.set(places, new**self._exponent)
            self._new_priorities.clear()
        return self._tree


class LocalItemWriter:
    """Appends rows to a table and creates items from the newest of them, like `ItemWriter`.

    Args:
        table: The table to write to.
        layout: Shapes of rows and items.
        window: Receives the numbers of the newest rows.
        priority: Called for the priority of each new item.

    Attributes:
        items: Items created so far.
    """

    def __init__(
        self,
        table: LocalTable,
        layout: ItemLayout,
        window: collections.deque[int],
        priority: Callable[[], float],
    ) -> None:
        self._table = table
        self._window = window
        self._priority = priority
        # Whether each of the newest n+1 rows begins an item; the oldest row's item is complete.
        self._begins_item: collections.deque[bool] = collections.deque(maxlen=layout.n_step + 1)
        self.items = 0

    def append(self, row: NDArray[np.void], *, begins_item: bool) -> None:
        """Append a row.

        Args:
            row: From `ItemLayout.row` or `padding_row`.
            begins_item: Whether to create an item for this row; the stack - 1 rows before it must
                have been appended.
        """
        self._append(self._table.add_row(row), begins_item)

    def append_padding(self, count: int) -> None:
        """Append rows of zeros, which begin no item."""
        for _ in range(count):
            self._append(PADDING_ROW, begins_item=False)

    def _append(self, number: int, begins_item: bool) -> None:
        self._window.append(number)
        self._begins_item.append(begins_item)
        if len(self._begins_item) == self._begins_item.maxlen and self._begins_item[0]:
            self._table.insert(self._window, self._priority())
            self.items += 1
