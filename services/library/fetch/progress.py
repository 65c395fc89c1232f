"""Progress of long work: a bar on a terminal, a log line every few seconds elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable

from rich.console import Console
from rich.filesize import pick_unit_and_suffix
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from services.shared.logging import Occasionally

_LINE_SECONDS = 5.0
_LOGGER = logging.getLogger(__name__)


def binary_size(size: float) -> str:
    """Format bytes with a suitable unit, e.g. "62.0 MiB"."""
    unit, name = pick_unit_and_suffix(int(size), ["B", "KiB", "MiB", "GiB", "TiB"], 1024)
    return f"{size:.0f} B" if unit == 1 else f"{size / unit:.1f} {name}"


class WorkProgress:
    """Shows pieces of work, e.g. files of a download, one after another, while `bars` is entered.

    Args:
        console: The console.
        amount: Formats an amount of work; by default as bytes.
        line_seconds: Time between log lines about one piece, if the console is not a terminal.
    """

    def __init__(
        self,
        console: Console,
        *,
        amount: Callable[[float], str] = binary_size,
        line_seconds: float = _LINE_SECONDS,
    ) -> None:
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._amount = amount
        self._line_seconds = line_seconds

    def begin(self, label: str, total: int, done: int) -> Callable[[int], None]:
        """Show a piece of work.

        Args:
            label: Its name.
            total: Total amount.
            done: Amount done before, which does not count for the speed.

        Returns:
            A function that receives the amount done so far.
        """
        number = self.bars.add_task(escape(label), total=total, completed=done, state="")
        task = self.bars.tasks[number]
        due = Occasionally(self._line_seconds, at_once=False)

        def at(now: int) -> None:
            was_finished = task.finished
            self.bars.update(number, completed=now)
            speed = "" if task.speed is None else f", {self._amount(task.speed)}/s"
            state = f"{self._amount(now)} of {self._amount(total)}{speed}"
            self.bars.update(number, state=state)
            if self.bars.disable and ((now == total and not was_finished) or due()):
                left = f", {task.time_remaining:.0f} s left" if task.time_remaining else ""
                _LOGGER.info("%s: %s%s", label, state, left)

        return at
