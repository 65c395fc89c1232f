"""What a user sees of a download: a bar in a terminal, a log line every few seconds elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column

from services.shared.logging import Occasionally

_LINE_SECONDS = 5.0
_LOGGER = logging.getLogger(__name__)


class FetchProgress:
    """Shows the files of a fetch, one after another, while `bars` is entered.

    Args:
        console: Where to.
        line_seconds: Between two log lines about one file, where the console is no terminal.
    """

    def __init__(self, console: Console, *, line_seconds: float = _LINE_SECONDS) -> None:
        label = Column(no_wrap=True, overflow="ellipsis")
        self.bars = Progress(
            TextColumn("{task.description}", table_column=label),
            BarColumn(bar_width=12),
            DownloadColumn(binary_units=True, table_column=Column(no_wrap=True)),
            TransferSpeedColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            console=console,
            disable=not console.is_terminal,
        )
        self._line_seconds = line_seconds

    def begin(self, label: str, size: int, done: int) -> Callable[[int], None]:
        """Show a file.

        Args:
            label: Its name.
            size: Its bytes.
            done: Those that were here before, which do not count for its speed.

        Returns:
            What takes the number of bytes that are here, again and again.
        """
        task = self.bars.add_task(escape(label), total=size, completed=done)
        due = Occasionally(self._line_seconds, at_once=False)

        def at(now: int) -> None:
            self.bars.update(task, completed=now)
            if self.bars.disable and (now == size or due()):
                speed = self.bars.tasks[task].speed
                told = "" if speed is None else f", {binary_size(int(speed))}/s"
                _LOGGER.info("%s: %s of %s%s", label, binary_size(now), binary_size(size), told)

        return at


def binary_size(size: int) -> str:
    """Bytes in the unit that reads best, e.g. "62.0 MiB"."""
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.0f} B" if units[0] == "B" else f"{value:.1f} {units[0]}"
