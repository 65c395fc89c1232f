"""`rrl teacher top`: what a running service does, in the terminal.

    page ─┐
    page ─┴─ Interval ── rates ──▶ ModelRates ── here ──▶ terminal

On a terminal it is one screen redrawn in place; elsewhere a block of text every interval.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from rrl_client.addresses import Address
from services.cli.metrics_pages.page import Page, fetch, parse
from services.cli.teacher_top.interval import TEACHER_STARTED, Interval, teacher_interval
from services.cli.teacher_top.rates import ModelRates, PriorityRates, rates_of
from services.cli.terminal import NOTHING, draw, milliseconds, rate
from services.shared.errors import UserError, printable

_HASH_CHARACTERS = 12


class TeacherTop:
    """Follows one service through restarts; draws what it did since the last look."""

    def __init__(self, address: Address, fetch: Callable[[Address], str] = fetch) -> None:
        """Take the first look.

        Args:
            address: Of the metrics page.
            fetch: Reads the page's text.

        Raises:
            UserError: Nothing answers there, or it is not a teacher.
        """
        self._address = address
        self._fetch = fetch
        self._last, self._taken = self._look(), time.monotonic()

    def look(self) -> RenderableType:
        """What happened since the last look.

        Raises:
            UserError: The service is away.
        """
        newest, taken = self._look(), time.monotonic()
        interval = teacher_interval(self._last, newest, taken - self._taken)
        started = _known(newest, TEACHER_STARTED)
        restarted = started != _known(self._last, TEACHER_STARTED)
        self._last, self._taken = newest, taken
        uptime_seconds = time.time() - started
        return render(interval, self._address, uptime_seconds=uptime_seconds, restarted=restarted)

    def steps(self, interval_seconds: float, stop: threading.Event) -> Iterator[RenderableType]:
        """A step every interval until it is stopped."""
        while not stop.wait(interval_seconds):
            yield self.step()

    def step(self) -> RenderableType:
        """What happened since the last look, or that the service is away."""
        try:
            return self.look()
        except UserError as error:
            return _waiting(self._address, error)

    def _look(self) -> Page:
        try:
            page = parse(self._fetch(self._address))
            if page.value(TEACHER_STARTED) is None:
                raise ValueError(f"no {TEACHER_STARTED} on it")
        except OSError as error:
            raise UserError(
                f"no metrics page at {self._address} ({error.strerror or error}); start the "
                "teacher with `rrl teacher serve`, or give its metrics port as --metrics HOST:PORT"
            ) from error
        except ValueError as error:
            raise UserError(
                f"what answers at {self._address} is no teacher's metrics page ({error}); give the "
                "metrics port of `rrl teacher serve` as --metrics HOST:PORT"
            ) from error
        return page


def watch(
    address: Address, console: Console, *, interval_seconds: float, stop: threading.Event
) -> None:
    """Draw a service every interval until it is stopped.

    Args:
        address: Of its metrics page.
        console: Where to draw.
        interval_seconds: Time between two looks, above 0.
        stop: Ends it, at once.

    Raises:
        UserError: Nothing answers there at the beginning, or it is not a teacher.
    """
    top = TeacherTop(address)
    first = Text(f"looking at {address} for {interval_seconds:g} s ...")
    draw(top.steps(interval_seconds, stop), console, first=first)


def print_once(
    address: Address, console: Console, *, interval_seconds: float, stop: threading.Event
) -> None:
    """Print what a service does during one interval; arguments and errors as of `watch`.

    Raises:
        UserError: Also where the service goes away in between.
    """
    top = TeacherTop(address)
    if not stop.wait(interval_seconds):
        console.print(top.look())


def render(
    interval: Interval, address: Address, *, uptime_seconds: float, restarted: bool = False
) -> RenderableType:
    """Draw an interval: the service, its models, and their priorities."""
    models = (_model(name, model, interval.now) for name, model in rates_of(interval).items())
    life = f", up {_duration(uptime_seconds)}" + (" (restarted)" if restarted else "")
    return Group(_head(interval.now, address, life), *models)


def _waiting(address: Address, reason: UserError) -> RenderableType:
    return Group(
        Text(f"waiting for {address} to come back", style="bold yellow"),
        Text(printable(str(reason))),
    )


def _head(page: Page, address: Address, life: str) -> RenderableType:
    is_serving = page.value("rrl_teacher_serving") == 1
    health = Text("SERVING", "green") if is_serving else Text("NOT SERVING", "bold red")
    by_way = sorted(page.by("rrl_teacher_streams", "observations").items())
    streams = ", ".join(f"{printable(way)} {count:.0f}" for way, count in by_way)
    compilations = _known(page, "rrl_teacher_compilations_after_ready_total")
    compiled = Text(f"compilations after ready {compilations:.0f}")
    if compilations > 0:
        compiled.stylize("bold red")
    queue = f"queue {_known(page, 'rrl_teacher_queue_bytes') / 1e6:,.1f} MB"
    return Group(
        Text.assemble(f"teacher at {address}: ", health, life),
        Text.assemble(f"streams {streams or NOTHING} | {queue} | ", compiled),
    )


def _known(page: Page, name: str) -> float:
    return page.value(name) or 0.0


def _model(name: str, model: ModelRates, page: Page) -> RenderableType:
    versions = [sample.labels for sample in page.find("rrl_teacher_info", model=name)]
    about = (
        f"game {_listed(version.get('game', '') for version in versions)}",
        f"version {_listed(map(_version, versions))}",
        _listed(version.get("backend", "") for version in versions),
    )
    title = Text.assemble("\n", (f"model {printable(name)}", "bold"), " | ", " | ".join(about))
    return Group(title, _device(model), _priorities(model))


def _device(model: ModelRates) -> Text:
    rows, padding = model.mean_batch_rows, model.padding_share
    facts = (
        f"batches {rate(model.batches_per_second)}/s",
        f"rows in a batch {NOTHING if rows is None else f'{rows:,.1f}'}",
        f"padding {NOTHING if padding is None else f'{padding:.1%}'}",
        f"forward p50 {milliseconds(model.forward_p50_seconds)} ms",
    )
    line = Text(" | ".join(facts))
    if model.reloads_failed > 0:
        line.append(f" | {model.reloads_failed:.0f} reloads failed", "bold red")
    return line


def _version(labels: Mapping[str, str]) -> str:
    return f"{labels.get('version', '')} ({labels.get('parameters', '')[:_HASH_CHARACTERS]})"


def _priorities(model: ModelRates) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("priority")
    for heading in _COLUMNS:
        table.add_column(heading, justify="right")
    for name, priority in model.priorities.items():
        table.add_row(Text(printable(name)), *(cell(priority) for cell in _COLUMNS.values()))
    return table


_COLUMNS: dict[str, Callable[[PriorityRates], str | Text]] = {
    "queries\n/s": lambda priority: rate(priority.queries_per_second),
    "rows\n/s": lambda priority: rate(priority.rows_per_second),
    "queue\nrows": lambda priority: f"{priority.queue_rows:,.0f}",
    "wait\np50 ms": lambda priority: milliseconds(priority.wait_p50_seconds),
    "wait\np99 ms": lambda priority: milliseconds(priority.wait_p99_seconds),
    "latency\np99 ms": lambda priority: milliseconds(priority.latency_p99_seconds),
    "rejects\n/s": lambda priority: _trouble(priority.rejected_per_second),
    "expiries\n/s": lambda priority: _trouble(priority.expired_per_second),
}


def _trouble(per_second: float) -> Text:
    return Text(rate(per_second), "bold red" if per_second > 0 else "")


def _duration(seconds: float) -> str:
    # The two clocks, ours and the service's, may differ a little.
    minutes, second = divmod(round(max(seconds, 0.0)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(map(printable, texts))) or NOTHING
