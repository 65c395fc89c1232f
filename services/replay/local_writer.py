"""Writes the episodes of N environments into a table of this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from services.replay.episodes import EpisodeRecorder
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.local_table import LocalTable


class LocalWriter:
    """Writes each environment's episodes step by step, without waiting.

    Args:
        table: The table to write to; its earlier writers must not be used any more.
        layout: Shapes of the items.
        num_envs: Number of environments N; each has its own episodes.
        priority: Called for each new item; returns its priority until it is first learned from.
    """

    def __init__(
        self,
        table: LocalTable,
        layout: ItemLayout,
        num_envs: int,
        *,
        priority: Callable[[], float] = lambda: 1.0,
    ) -> None:
        table.forget_writers()
        self._episodes = [EpisodeRecorder(table.writer(priority), layout) for _ in range(num_envs)]

    def append(self, env: int, row: StepRow) -> None:
        """Write one real step; the first one after `end_episode` starts a new episode.

        Raises:
            ValueError: the step does not fit the layout, or the episode has terminated.
        """
        self._episodes[env].append(row)

    def end_episode(self, env: int, final_frame: NDArray[Any] | None) -> None:
        """End an environment's episode, which creates the items of its last n steps.

        As `EpisodeRecorder.end`.
        """
        self._episodes[env].end(final_frame)
