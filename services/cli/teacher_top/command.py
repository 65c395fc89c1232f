"""`rrl teacher top`: the parameters are the flags."""

from __future__ import annotations

from rich.console import Console

from services.cli.shutdown import install_shutdown_event
from services.cli.teacher_top.view import print_once, watch
from services.cli.terminal import PLAIN_WIDTH, check_interval, make_console
from services.shared.addresses import parse_address


def top(*, metrics: str = "127.0.0.1:9101", interval: float = 2.0, once: bool = False) -> None:
    """Show what a running teacher service does, until Ctrl-C.

    Args:
        metrics: HOST:PORT of its metrics page (`rrl teacher serve --metrics-port`).
        interval: Seconds between two looks, 0.1 to 3600; rates are of one interval.
        once: Print one interval as plain text, and end.
    """
    check_interval(interval)
    address = parse_address(metrics)
    stop = install_shutdown_event()
    if once:
        console = Console(width=PLAIN_WIDTH, force_terminal=False, no_color=True)
        print_once(address, console, interval_seconds=interval, stop=stop)
        return
    watch(address, make_console(), interval_seconds=interval, stop=stop)
