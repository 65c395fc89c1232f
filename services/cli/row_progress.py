"""Progress of a long pass over rows: a bar in a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from services.shared.logging import Occasionally

LINE_SECONDS = 10.0

Show = Callable[[int], None]
"""Shows how many rows are done."""


@contextlib.contextmanager
def row_progress(stream: TextIO, *, total: int, done: int = 0) -> Iterator[Show]:
    """The progress that suits where its text goes.

    Args:
        stream: Where it goes.
        total: Rows of the whole.
        done: Rows that were done before.
    """
    console = Console(file=stream)
    if not console.is_terminal:
        yield LineProgress(stream, total=total, done=done).show
        return
    columns = (
        TextColumn("rows"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("", total=total, completed=done)
        yield lambda rows: bars.update(task, completed=rows)


class LineProgress:
    """A line every few seconds and at the end."""

    def __init__(
        self,
        stream: TextIO,
        *,
        total: int,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write nothing yet.

        Args:
            stream: Where lines go.
            total: Rows of the whole.
            done: Rows that were done before.
            clock: Seconds.
        """
        self._stream = stream
        self._total = total
        self._done_before = done
        self._clock = clock
        self._began = clock()
        self._is_due = Occasionally(LINE_SECONDS, at_once=False, clock=clock)

    def show(self, rows: int) -> None:
        """So many rows are done."""
        if not self._is_due() and rows < self._total:
            return
        rate = (rows - self._done_before) / max(self._clock() - self._began, 1e-3)
        left = (
            "" if rows >= self._total or not rate else f", {(self._total - rows) / rate:.0f} s left"
        )
        print(
            f"{rows} of {self._total} rows, {rate:.0f} rows/s{left}", file=self._stream, flush=True
        )


class _RateColumn(ProgressColumn):
    """Rows per second."""

    def render(self, task: Task) -> Text:
        """E.g. "1234 rows/s"."""
        return Text("" if task.speed is None else f"{task.speed:.0f} rows/s")
