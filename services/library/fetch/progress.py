"""What a user sees of a download: a bar in a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column

LINE_SECONDS = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileInHand:
    """The file a progress speaks of.

    Attributes:
        name: Its name.
        index: Which file it is, from 1.
        count: How many there are.
        size: Its bytes.
    """

    name: str
    index: int
    count: int
    size: int


class FetchProgress(Protocol):
    """Takes what happens."""

    def begin(self, file: FileInHand) -> None:
        """A file's turn has come."""

    def start(self, done: int) -> None:
        """Its download starts, or starts anew, with so many bytes already here."""

    def at(self, done: int) -> None:
        """So many of its bytes are here."""

    def tell(self, line: str) -> None:
        """Something to know happened."""


@contextlib.contextmanager
def progress_on(stream: TextIO) -> Iterator[FetchProgress]:
    """The progress that suits where its text goes."""
    console = Console(file=stream)
    if not console.is_terminal:
        yield LineProgress(stream)
        return
    whole = Column(no_wrap=True)
    columns = (
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=12),
        DownloadColumn(table_column=whole),
        TransferSpeedColumn(table_column=whole),
        TimeRemainingColumn(table_column=whole),
    )
    with Progress(*columns, console=console) as bars:
        yield BarProgress(bars)


class BarProgress:
    """A bar with bytes, speed and time left, for each file."""

    def __init__(self, bars: Progress) -> None:
        """Show nothing yet.

        Args:
            bars: Where they are drawn, while it is open.
        """
        self._bars = bars
        self._task: TaskID | None = None

    def begin(self, file: FileInHand) -> None:
        """A file's turn has come."""
        label = f"{file.index}/{file.count} {escape(file.name)}"
        self._task = self._bars.add_task(label, total=file.size)

    def start(self, done: int) -> None:
        """Its download starts with so many bytes already here, which are none of its speed."""
        if self._task is not None:
            self._bars.reset(self._task, completed=done)

    def at(self, done: int) -> None:
        """So many of its bytes are here."""
        if self._task is not None:
            self._bars.update(self._task, completed=done)

    def tell(self, line: str) -> None:
        """Something to know happened."""
        self._bars.console.print(escape(line), highlight=False)


class LineProgress:
    """A line at a file's begin and end, and every few seconds between."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        """Write nothing yet.

        Args:
            stream: Where lines go.
            clock: Seconds.
        """
        self._stream = stream
        self._clock = clock
        self._file = FileInHand(name="", index=0, count=0, size=0)
        self._shown_at = 0.0
        self._shown_bytes = 0

    def begin(self, file: FileInHand) -> None:
        """A file's turn has come."""
        self._file = file

    def start(self, done: int) -> None:
        """Its download starts with so many bytes already here, which are none of its speed."""
        self._shown_at, self._shown_bytes = self._clock(), done
        if done == self._file.size:
            self.at(done)

    def at(self, done: int) -> None:
        """So many of its bytes are here."""
        now = self._clock()
        seconds = now - self._shown_at
        if done < self._file.size and seconds < LINE_SECONDS:
            return
        file = self._file
        percent = 100.0 if file.size == 0 else 100.0 * done / file.size
        speed = (done - self._shown_bytes) / max(seconds, 1e-3)
        self.tell(
            f"{file.index}/{file.count} {file.name}: {binary_size(done)} of "
            f"{binary_size(file.size)} ({percent:.0f}%), {binary_size(int(speed))}/s"
        )
        self._shown_at, self._shown_bytes = now, done

    def tell(self, line: str) -> None:
        """Something to know happened."""
        print(line, file=self._stream, flush=True)


def binary_size(size: int) -> str:
    """Bytes in the unit that reads best, e.g. "62.0 MiB"."""
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.0f} B" if units[0] == "B" else f"{value:.1f} {units[0]}"
