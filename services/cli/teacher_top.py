"""`rrl teacher top`: the parameters are the flags."""

from __future__ import annotations

from rich.console import Console

from services.shared.addresses import parse_address
from services.shared.errors import UserError
from services.shared.shutdown import install_shutdown_event
from services.teacher.top.view import print_once, watch

SHORTEST_INTERVAL_SECONDS = 0.1
LONGEST_INTERVAL_SECONDS = 3600.0

PLAIN_WIDTH = 160
"""Columns where there is no terminal: wide enough that no cell is folded."""


def top(*, metrics: str = "127.0.0.1:9101", interval: float = 2.0, once: bool = False) -> None:
    """Show what a running teacher service does, until Ctrl-C.

    Args:
        metrics: HOST:PORT of its metrics page (`rrl teacher serve --metrics-port`).
        interval: Seconds between two looks, 0.1 to 3600; rates are of one interval.
        once: Print one interval as plain text, and end.
    """
    if not SHORTEST_INTERVAL_SECONDS <= interval <= LONGEST_INTERVAL_SECONDS:
        raise UserError(
            f"--interval is {interval}; give {SHORTEST_INTERVAL_SECONDS:g} to "
            f"{LONGEST_INTERVAL_SECONDS:g} seconds"
        )
    address = parse_address(metrics)
    stop = install_shutdown_event()
    if once:
        console = Console(width=PLAIN_WIDTH, force_terminal=False, no_color=True)
        print_once(address, console, interval_seconds=interval, stop=stop)
        return
    is_terminal = Console().is_terminal
    console = Console() if is_terminal else Console(width=PLAIN_WIDTH)
    watch(address, console, interval_seconds=interval, stop=stop)
