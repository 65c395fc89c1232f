"""What commands share that show tables or look at running services: consoles, numbers, words."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from services.shared.errors import UserError

SHORTEST_INTERVAL_SECONDS = 0.1
LONGEST_INTERVAL_SECONDS = 3600.0

PLAIN_WIDTH = 200
"""Columns where there is no terminal: wide enough that no line or cell is folded."""

NOTHING = "-"

_WHOLE_FROM = 100.0


def check_interval(seconds: float) -> None:
    """Check the flag --interval.

    Raises:
        UserError: it is out of range.
    """
    if not SHORTEST_INTERVAL_SECONDS <= seconds <= LONGEST_INTERVAL_SECONDS:
        raise UserError(
            f"--interval is {seconds}; give {SHORTEST_INTERVAL_SECONDS:g} to "
            f"{LONGEST_INTERVAL_SECONDS:g} seconds"
        )


def make_console() -> Console:
    """The terminal's, or one of `PLAIN_WIDTH` where there is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


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


def rate(per_second: float | None) -> str:
    """A rate with one digit, a large one without."""
    if per_second is None:
        return NOTHING
    return f"{per_second:,.1f}" if per_second < _WHOLE_FROM else f"{per_second:,.0f}"


def milliseconds(seconds: float | None) -> str:
    """A time in milliseconds, with two digits."""
    return NOTHING if seconds is None else f"{1e3 * seconds:,.2f}"


def printable(text: str) -> str:
    """Foreign text without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
