"""What commands share that show something: consoles, tables, JSON, progress, frames."""

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
"""Columns where there is no terminal, for what fills or centres on the width it gets."""

UNBOUNDED_WIDTH = 1_000_000
"""Columns where there is no terminal, for what must be whole: no line or cell is folded."""


def check_interval(seconds: float) -> None:
    """Check the flag --interval.

    Raises:
        UserError: it is out of range.
    """
    if not 0.1 <= seconds <= 3600:
        raise UserError(f"--interval is {seconds}; give 0.1 to 3600 seconds")


def make_console(plain_width: int = PLAIN_WIDTH) -> Console:
    """The terminal's, or one of `plain_width` columns where there is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=plain_width)


def print_json(content: object) -> None:
    """Print what --json asks for."""
    print(json.dumps(content, indent=1, allow_nan=False))


def print_rows(rows: Iterable[Sequence[str]], titles: Sequence[str] = ()) -> None:
    """Print rows as columns, folded to the terminal's width; elsewhere each row is one line.

    Args:
        rows: Cells; may be anybody's words, which are neither markup nor escapes here.
        titles: Of the columns, where they have any.
    """
    table = Table(*titles, box=None, pad_edge=False, show_header=bool(titles))
    for row in rows:
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in row))
    console = make_console(UNBOUNDED_WIDTH)
    with console.capture() as shown:
        console.print(table)
    # Without the blanks that fill the last column.
    for line in shown.get().splitlines():
        print(line.rstrip())


@contextlib.contextmanager
def showing_progress(amount: Callable[[float], str] = binary_size) -> Iterator[WorkProgress]:
    """Show on stderr how long work goes, and log lines of ours.

    Args:
        amount: An amount of the work in words; by default it is bytes.
    """
    progress = WorkProgress(Console(stderr=True), amount=amount)
    with progress.bars:
        # Inside, where rich has put itself before stderr: lines appear above the bars.
        logging.basicConfig(format="%(message)s")
        logging.getLogger("services").setLevel(logging.INFO)
        yield progress


def draw(frames: Iterable[RenderableType], console: Console, *, first: Text | None = None) -> None:
    """Show frames as they come: one screen redrawn in place, or blocks of text without a terminal.

    Args:
        frames: What to show; asks for each only when the one before is shown.
        console: Where.
        first: What a terminal shows until the first frame.
    """
    if not console.is_terminal:
        for frame in frames:
            console.print(frame)
        return
    with Live(first, console=console, screen=True, auto_refresh=False) as live:
        live.refresh()
        for frame in frames:
            live.update(frame, refresh=True)
