"""`rrl teacher top`: what a running service does, in the terminal.

    page ── snapshot ──▶ Snapshot ┐
    page ── snapshot ──▶ Snapshot ┴─ rates ──▶ Rates ── here ──▶ terminal

On a terminal it is one screen drawn anew in place; elsewhere a block of text every interval.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rrl_client.addresses import Address
from services.shared.errors import UserError
from services.teacher.top.rates import ModelRates, PriorityRates, Rates, difference
from services.teacher.top.snapshot import ServedVersion, Snapshot, fetch, parse

_NOTHING = "-"
_WHOLE_FROM = 100.0
_HASH_CHARACTERS = 12


class TeacherTop:
    """Follows one service through restarts; draws what it did since the last look."""

    def __init__(self, address: Address) -> None:
        """Take the first look.

        Args:
            address: Of the metrics page.

        Raises:
            UserError: Nobody is there, or not a teacher.
        """
        self._address = address
        self._last = self._look()

    def look(self) -> RenderableType:
        """What happened since the last look.

        Raises:
            UserError: The service is away.
        """
        newest = self._look()
        rates = difference(self._last, newest)
        self._last = newest
        return render(rates, self._address, uptime_seconds=time.time() - newest.started)

    def step(self) -> RenderableType:
        """What happened since the last look, or that the service is away."""
        try:
            return self.look()
        except UserError as error:
            return _waiting(self._address, error)

    def _look(self) -> Snapshot:
        text = fetch(self._address)
        return parse(text, self._address, time.monotonic())


def watch(
    address: Address, console: Console, *, interval_seconds: float, stop: threading.Event
) -> None:
    """Draw a service every interval until told to stop.

    Args:
        address: Of its metrics page.
        console: Where to draw.
        interval_seconds: Time between two looks, above 0.
        stop: Ends it, at once.

    Raises:
        UserError: Nobody is there at the beginning, or not a teacher.
    """
    top = TeacherTop(address)
    if not console.is_terminal:
        while not stop.wait(interval_seconds):
            console.print(top.step())
        return
    first = Text(f"looking at {address} for {interval_seconds:g} s ...")
    with Live(first, console=console, screen=True, auto_refresh=False) as live:
        live.refresh()
        while not stop.wait(interval_seconds):
            live.update(top.step(), refresh=True)


def print_once(
    address: Address, console: Console, *, interval_seconds: float, stop: threading.Event
) -> None:
    """Print what a service does during one interval; arguments and errors as of `watch`.

    Raises:
        UserError: Also where the service goes away meanwhile.
    """
    top = TeacherTop(address)
    if not stop.wait(interval_seconds):
        console.print(top.look())


def render(rates: Rates, address: Address, *, uptime_seconds: float) -> RenderableType:
    """Draw rates: the service, its models, and their priorities."""
    models = (_model(name, model, rates.now) for name, model in rates.models.items())
    return Group(_head(rates, address, uptime_seconds), *models)


def _waiting(address: Address, reason: UserError) -> RenderableType:
    return Group(
        Text(f"waiting for {address} to come back", style="bold yellow"),
        Text(_printable(str(reason))),
    )


def _head(rates: Rates, address: Address, uptime_seconds: float) -> RenderableType:
    now = rates.now
    health = Text("SERVING", "green") if now.serving else Text("NOT SERVING", "bold red")
    life = f", up {_duration(uptime_seconds)}" + (" (restarted)" if rates.restarted else "")
    names = sorted(now.connections)
    connections = ", ".join(f"{_printable(name)} {now.connections[name]:.0f}" for name in names)
    compiled = Text(f"compilations after ready {now.compilations:.0f}")
    if now.compilations > 0:
        compiled.stylize("bold red")
    facts = (f"connections {connections or _NOTHING}", f"queue {_bytes(now.queue_bytes)}")
    return Group(
        Text.assemble(f"teacher at {address}: ", health, life),
        Text.assemble(" | ".join(facts), " | ", compiled),
    )


def _model(name: str, model: ModelRates, now: Snapshot) -> RenderableType:
    versions = [version for version in now.versions if version.model == name]
    about = (
        f"game {_listed(version.game for version in versions)}",
        f"version {_listed(map(_version, versions))}",
        _listed(version.backend for version in versions),
    )
    title = Text.assemble("\n", (f"model {_printable(name)}", "bold"), " | ", " | ".join(about))
    return Group(title, _device(model), _priorities(model))


def _device(model: ModelRates) -> Text:
    rows, padding = model.mean_batch_rows, model.padding_share
    facts = (
        f"batches {_rate(model.batches_per_second)}/s",
        f"rows in a batch {_NOTHING if rows is None else f'{rows:,.1f}'}",
        f"padding {_NOTHING if padding is None else f'{padding:.1%}'}",
        f"forward p50 {_milliseconds(model.forward_p50_seconds)} ms",
    )
    line = Text(" | ".join(facts))
    if model.reloads_failed > 0:
        line.append(f" | {model.reloads_failed:.0f} reloads failed", "bold red")
    return line


def _version(version: ServedVersion) -> str:
    return f"{version.version} ({version.parameters[:_HASH_CHARACTERS]})"


def _priorities(model: ModelRates) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("priority")
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for name, priority in model.priorities.items():
        table.add_row(Text(_printable(name)), *_priority_cells(priority))
    return table


_COLUMNS = (
    "queries\n/s",
    "rows\n/s",
    "queue\nrows",
    "wait\np50 ms",
    "wait\np99 ms",
    "latency\np99 ms",
    "rejects\n/s",
    "expiries\n/s",
)


def _priority_cells(priority: PriorityRates) -> tuple[str | Text, ...]:
    return (
        _rate(priority.queries_per_second),
        _rate(priority.rows_per_second),
        f"{priority.queue_rows:,.0f}",
        _milliseconds(priority.wait_p50_seconds),
        _milliseconds(priority.wait_p99_seconds),
        _milliseconds(priority.latency_p99_seconds),
        _trouble(priority.rejected_per_second),
        _trouble(priority.expired_per_second),
    )


def _rate(per_second: float) -> str:
    return f"{per_second:,.1f}" if per_second < _WHOLE_FROM else f"{per_second:,.0f}"


def _trouble(per_second: float) -> Text:
    return Text(_rate(per_second), "bold red" if per_second > 0 else "")


def _milliseconds(seconds: float | None) -> str:
    return _NOTHING if seconds is None else f"{1e3 * seconds:,.2f}"


def _bytes(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"


def _duration(seconds: float) -> str:
    # The two clocks, ours and the service's, may differ a little.
    minutes, second = divmod(round(max(seconds, 0.0)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(map(_printable, texts))) or _NOTHING


def _printable(text: str) -> str:
    """Foreign text without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
