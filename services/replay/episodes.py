"""Episodes as they are played, laid out as rows and items, whatever table they go to."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from numpy.typing import NDArray

from services.replay.item_layout import ItemLayout, StepRow


class RowWriter(Protocol):
    """Takes the rows of one environment; the item of a step is there n rows later."""

    def append(self, row: Any, *, begins_item: bool) -> None:
        """Append a row of the layout, and say whether the item that begins there is wanted."""

    def append_padding(self, count: int) -> None:
        """Append rows of zeros, which start no item."""


ItemsT = TypeVar("ItemsT", bound=RowWriter)


class EpisodeRecorder(Generic[ItemsT]):
    """Lays the episodes of one environment out as rows and items.

    Args:
        items: Where rows go.
        layout: Shapes of rows and items.

    Attributes:
        items: As given.
    """

    def __init__(self, items: ItemsT, layout: ItemLayout) -> None:
        self.items = items
        self._layout = layout
        self._in_episode = False
        self._terminated = False

    def append(self, step: StepRow) -> None:
        """Write one real step; the first after an end starts a new episode.

        Raises:
            ValueError: a row that does not fit the layout, or the episode has terminated.
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
        """End the episode; `final_frame` is None where its last step terminated.

        Raises:
            ValueError: no open episode, or `final_frame` disagrees with the last row's
                `terminated`.
        """
        if not self._in_episode:
            raise ValueError("there is no episode to end; append its steps first")
        if self._terminated != (final_frame is None):
            raise ValueError(
                f"the last step has terminated={self._terminated}: a final frame belongs to an "
                "episode that was cut off, and only to one"
            )
        if final_frame is not None:
            self.items.append(self._layout.padding_row(final_frame), begins_item=False)
        self.items.append_padding(self._layout.n_step - (final_frame is not None))
        self._in_episode = self._terminated = False
