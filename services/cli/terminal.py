"""Output that commands share: consoles, tables, JSON, progress, frames."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from services.library.fetch.progress import WorkProgress, binary_size
from services.shared.errors import UserError, printable

PLAIN_WIDTH = 200
"""Columns without a terminal, for output that fills the width."""

UNBOUNDED_WIDTH = 1_000_000
"""Columns without a terminal, for output whose lines must not be folded."""


def check_interval(seconds: float) -> None:
    """Check the flag --interval.

    Raises:
        UserError: it is out of range.
    """
    if not 0.1 <= seconds <= 3600:
        raise UserError(f"--interval is {seconds}; give 0.1 to 3600 seconds")


def make_console(plain_width: int = PLAIN_WIDTH) -> Console:
    """A console for the terminal; if there is none, one of `plain_width` columns."""
    console = Console()
    return console if console.is_terminal else Console(width=plain_width)


def print_json(content: object) -> None:
    """Print what --json asks for."""
    print(json.dumps(content, indent=1, allow_nan=False))


def print_rows(rows: Iterable[Sequence[str]], titles: Sequence[str] = ()) -> None:
    """Print rows as columns, folded to the terminal's width; elsewhere each row is one line.

    Args:
        rows: Cells; untrusted text is printed without markup or escapes.
        titles: Column titles; empty for none.
    """
    table = Table(*titles, box=None, pad_edge=False, show_header=bool(titles))
    for row in rows:
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in row))
    console = make_console(UNBOUNDED_WIDTH)
    with console.capture() as shown:
        console.print(table)
    # Strip the blanks that fill the last column.
    for line in shown.get().splitlines():
        print(line.rstrip())


@contextlib.contextmanager
def showing_progress(amount: Callable[[float], str] = binary_size) -> Iterator[WorkProgress]:
    """Show a progress bar and our log lines on stderr.

    Args:
        amount: Formats an amount of work; by default as bytes.
    """
    progress = WorkProgress(Console(stderr=True), amount=amount)
    with progress.bars:
        # Inside the block, where rich has replaced stderr, so that log lines appear above the bars.
        logging.basicConfig(format="%(message)s")
        logging.getLogger("services").setLevel(logging.INFO)
        yield progress


def draw(frames: Iterable[RenderableType], console: Console, *, first: Text | None = None) -> None:
    """Show frames as they come: one screen redrawn in place, or blocks of text without a terminal.

    Args:
        frames: What to show; each is requested once the one before is shown.
        console: Where.
        first: Shown on a terminal until the first frame.
    """
    if not console.is_terminal:
        for frame in frames:
            console.print(frame)
        return
    with Live(first, console=console, screen=True, auto_refresh=False) as live:
        live.refresh()
        for frame in frames:
            live.update(frame, refresh=True)
