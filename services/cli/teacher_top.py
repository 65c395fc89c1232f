"""`rrl teacher top`: the load of a running teacher service, from two readings of its metrics page.

The parameters of `top` are the flags. On a terminal it redraws one screen in place; elsewhere it
prints a block of text every interval.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rrl_client.addresses import Address
from services.cli.metrics_pages import Page, fetch, page_address, parse
from services.cli.shutdown import install_shutdown_event
from services.cli.terminal import check_interval, draw, make_console
from services.launcher.progress_display import format_duration
from services.shared.errors import UserError, printable, user_errors

_STARTED = "rrl_teacher_start_time_seconds"
_NOTHING = "-"

_HEADINGS = (
    *("queries\n/s", "rows\n/s", "queue\nrows", "wait\np50 ms", "wait\np99 ms"),
    *("latency\np99 ms", "rejects\n/s", "expiries\n/s"),
)
"""Headings of the columns of `_priority`."""


def top(*, metrics: str = "127.0.0.1:9101", interval: float = 2.0, once: bool = False) -> None:
    """Show the load of a running teacher service until Ctrl-C, also while the service restarts.

    Args:
        metrics: HOST:PORT of its metrics page (`rrl teacher serve --metrics-port`).
        interval: Seconds between updates, 0.1 to 3600; rates are averages over one interval.
        once: Print one interval, then exit.
    """
    check_interval(interval)
    address = page_address(metrics)
    stop = install_shutdown_event()
    first = look(address)
    if not once:
        waiting = Text(f"looking at {address} for {interval:g} s ...")
        draw(frames(address, first, interval, stop), make_console(), first=waiting)
    elif not stop.wait(interval):
        make_console().print(render(first, look(address), address))


def frames(
    address: Address, before: Page, interval_seconds: float, stop: threading.Event
) -> Iterator[RenderableType]:
    """The drawing of every interval until stopped; `before` is the reading before the first."""
    while not stop.wait(interval_seconds):
        try:
            now = look(address)
        except UserError as error:
            head = Text(f"waiting for {address} to come back", style="bold yellow")
            yield Group(head, Text(printable(str(error))))
        else:
            yield render(before, now, address)
            before = now


def look(address: Address) -> Page:
    """Read a teacher's page.

    Raises:
        UserError: Nothing answers there, or it is not a teacher.
    """
    problem = (
        f"no teacher's metrics page at {address}; start the teacher with `rrl teacher serve`, or "
        "give its metrics port as --metrics HOST:PORT: "
    )
    with user_errors((OSError, ValueError), prefix=problem):
        page = parse(fetch(address))
        if page.value(_STARTED) is None:
            raise ValueError(f"no {_STARTED} on it")
    return page


def render(before: Page, now: Page, address: Address) -> RenderableType:
    """Draw what happened between two readings: the service, its models, and their priorities."""
    restarted = before.total(_STARTED) != now.total(_STARTED)
    # After a restart all counts are new.
    new, seconds = now.since(Page() if restarted else before), now.seconds - before.seconds
    parts: list[RenderableType] = [*_head(now, address, restarted)]
    for model in now.label_values("model"):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("priority")
        for heading in _HEADINGS:
            table.add_column(heading, justify="right")
        for priority in now.label_values("priority", model=model):
            labels = {"model": model, "priority": priority}
            table.add_row(Text(printable(priority)), *_priority(now, new, seconds, labels))
        parts += [*_model(now, new, seconds, model), table]
    return Group(*parts)


def _head(now: Page, address: Address, restarted: bool) -> Iterator[Text]:
    is_serving = now.value("rrl_teacher_serving") == 1
    health = Text("SERVING", "green") if is_serving else Text("NOT SERVING", "bold red")
    # The two clocks, ours and the service's, may differ a little.
    up = format_duration(max(time.time() - now.total(_STARTED), 0.0))
    again = " (restarted)" if restarted else ""
    yield Text.assemble(f"teacher at {address}: ", health, f", up {up}{again}")
    streams = ", ".join(
        f"{printable(way)} {now.total('rrl_teacher_streams', observations=way):.0f}"
        for way in now.label_values("observations")
    )
    queue = now.total("rrl_teacher_queue_bytes") / 1e6
    compilations = now.total("rrl_teacher_compilations_after_ready_total")
    yield Text.assemble(
        f"streams {streams or _NOTHING} | queue {queue:,.1f} MB | compilations after ready ",
        _trouble(compilations, f"{compilations:.0f}"),
        "\n",
    )


def _model(now: Page, new: Page, seconds: float, model: str) -> Iterator[Text]:
    versions = [sample.labels for sample in now.find("rrl_teacher_info", model=model)]
    about = (
        ", ".join(dict.fromkeys(one.get(label, "") for one in versions))
        for label in ("game", "version", "parameters", "backend")
    )
    yield Text(printable(" | ".join((f"model {model}", *about))), "bold")
    rows = new.total("rrl_teacher_batch_rows_sum", model=model)
    batches = new.total("rrl_teacher_batch_rows_count", model=model)
    padding = new.total("rrl_teacher_padding_rows_total", model=model)
    forward = new.quantile("rrl_teacher_forward_seconds", 0.5, model=model)
    failed = now.total("rrl_teacher_reloads_total", model=model, result="failed")
    yield Text.assemble(
        f"batches {_rate(batches / seconds)}/s",
        f" | rows in a batch {f'{rows / batches:,.1f}' if batches > 0 else _NOTHING}",
        f" | padding {f'{padding / (rows + padding):.1%}' if rows + padding > 0 else _NOTHING}",
        f" | forward p50 {_milliseconds(forward)} ms | reloads failed ",
        _trouble(failed, f"{failed:.0f}"),
    )


def _priority(
    now: Page, new: Page, seconds: float, labels: Mapping[str, str]
) -> Iterator[str | Text]:
    yield _rate(new.total("rrl_teacher_queries_total", code="OK", **labels) / seconds)
    yield _rate(new.total("rrl_teacher_rows_total", **labels) / seconds)
    yield f"{now.total('rrl_teacher_queue_rows', **labels):,.0f}"
    yield _milliseconds(new.quantile("rrl_teacher_wait_seconds", 0.5, **labels))
    yield _milliseconds(new.quantile("rrl_teacher_wait_seconds", 0.99, **labels))
    yield _milliseconds(new.quantile("rrl_teacher_latency_seconds", 0.99, **labels))
    for trouble in ("rejected", "expired"):
        per_second = new.total(f"rrl_teacher_{trouble}_total", **labels) / seconds
        yield _trouble(per_second, _rate(per_second))


def _trouble(number: float, text: str) -> Text:
    return Text(text, "bold red" if number > 0 else "")


def _rate(per_second: float) -> str:
    return f"{per_second:,.1f}"


def _milliseconds(seconds: float | None) -> str:
    return _NOTHING if seconds is None else f"{1e3 * seconds:,.2f}"
