"""Lays out played episodes as rows and items, for tables in Reverb and in this process alike."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from numpy.typing import NDArray

from services.replay.item_layout import ItemLayout, StepRow


class RowWriter(Protocol):
    """Takes the rows of one environment; the item of a step is complete n rows later."""

    def append(self, row: Any, *, begins_item: bool) -> None:
        """Append a row of the layout; `begins_item` says whether to create an item for it."""

    def append_padding(self, count: int) -> None:
        """Append rows of zeros, which start no item."""


ItemsT = TypeVar("ItemsT", bound=RowWriter)


class EpisodeRecorder(Generic[ItemsT]):
    """Lays out the episodes of one environment as rows and items.

    Args:
        items: Writer of the rows.
        layout: Shapes of rows and items.

    Attributes:
        items: The writer.
    """

    def __init__(self, items: ItemsT, layout: ItemLayout) -> None:
        self.items = items
        self._layout = layout
        self._in_episode = False
        self._terminated = False

    def append(self, step: StepRow) -> None:
        """Write one real step; the first one after `end` starts a new episode.

        Raises:
            ValueError: the step does not fit the layout, or the episode has terminated.
        """
        if self._terminated:
            raise ValueError("the episode has terminated; call end_episode before the next step")
        row = self._layout.row(step)
        if not self._in_episode:
            self.items.append_padding(self._layout.stack_size - 1)
            self._in_episode = True
        self.items.append(row, begins_item=True)
        self._terminated = step.terminated

    def end(self, final_frame: NDArray[Any] | None) -> None:
        """End the episode.

        Args:
            final_frame: The newest frame of the state after the last step, for an episode that was
                cut off; None if the last step terminated the episode.

        Raises:
            ValueError: no episode is open, or `final_frame` disagrees with the last row's
                `terminated`.
        """
        if not self._in_episode:
            raise ValueError("there is no episode to end; append its steps first")
        if self._terminated != (final_frame is None):
            raise ValueError(
                f"the last step has terminated={self._terminated}; give a final frame for an "
                "episode that was cut off, and None for one that terminated"
            )
        if final_frame is not None:
            self.items.append(self._layout.padding_row(final_frame), begins_item=False)
        self.items.append_padding(self._layout.n_step - (final_frame is not None))
        self._in_episode = self._terminated = False
