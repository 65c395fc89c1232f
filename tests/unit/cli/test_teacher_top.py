"""`rrl teacher top`: numbers from a service's page, and a metrics server that comes and goes."""

from __future__ import annotations

import dataclasses
import io
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from rich.console import Console

from rrl_client import PolicySpec, Priority, TeacherDescription
from rrl_client.addresses import Address
from rrl_client.requests import Refusal, RefusalCode
from services.cli import teacher_top
from services.cli.metrics_pages import Page, parse
from services.cli.teacher_top import frames, look, render, top
from services.shared.errors import UserError
from services.shared.metrics import MetricsServer
from services.teacher.batching.query import Query
from services.teacher.metrics import TeacherMetrics
from tests.support.patience import PATIENCE_SECONDS

ADDRESS = Address("127.0.0.1", 9101)


class IgnoringSink:
    """Wants no answers."""

    def settled(self, queries: Sequence[Query]) -> None:
        """Do nothing."""


class Service:
    """The counts of a service with one model, "pong", two versions and four streams."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = TeacherMetrics(self.registry)
        self.metrics.serving = True
        about = TeacherDescription(
            model="pong",
            game="pong",
            name="tiny",
            backend="onnxruntime cpu",
            teacher_version="aaa",
            max_batch_rows=4,
            spec=PolicySpec(num_actions=2, observation_shape=(1,)),
        )
        newer = dataclasses.replace(about, model_version=2, teacher_version="bbb")
        self.metrics.versions = lambda: (about, newer)
        self.metrics.queue_rows = lambda: {"pong": [12, 0, 0]}
        self.metrics.queue_bytes = lambda: 84_672
        self.metrics.memories = lambda: 1
        self.metrics.compilations = lambda: 2
        self.metrics.streams_changed(4)
        self.metrics.model("pong")

    def work(self) -> None:
        """Answer two queries in a batch of eight; refuse two, let one expire; fail to reload."""
        counts = self.metrics.model("pong")
        queries = [query(Priority.LABELLING, rows) for rows in (1, 5)]
        counts.taken(queries, now=0.1)
        counts.batch_ended(rows=6, padding_rows=2, seconds=0.02)
        counts.settled(queries, now=0.3)
        counts.refused(Priority.ACTING, RefusalCode.RESOURCE_EXHAUSTED, "full")
        counts.refused(Priority.ACTING, RefusalCode.DEADLINE_EXCEEDED, "too_late")
        expired = query(Priority.EVALUATION, 1)
        expired.refusal = Refusal(RefusalCode.DEADLINE_EXCEEDED, "too late")
        counts.settled([expired], now=0.3)
        self.metrics.reloaded("pong", "failed")

    def text(self) -> str:
        """Its page."""
        return generate_latest(self.registry).decode()

    def look(self, seconds: float) -> Page:
        """Its page as it was read at this time."""
        return dataclasses.replace(parse(self.text()), seconds=seconds)


def query(priority: Priority, rows: int) -> Query:
    observations = np.zeros((rows, 1), np.uint8)
    return Query(observations, deadline=1e9, priority=priority, client=None, sink=IgnoringSink())


def worked() -> Service:
    service = Service()
    service.work()
    return service


PAGE = worked().text()


def shown(before: Page, after: Page) -> str:
    return drawn(render(before, after, ADDRESS))


def drawn(renderable: object) -> str:
    console = Console(file=io.StringIO(), width=100, no_color=True)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def row(text: str, priority: str) -> list[str]:
    """Cells of a priority: queries and rows per second, queue, waits, latency, troubles."""
    return next(line.split()[1:] for line in text.splitlines() if line.startswith(priority))


def test_what_happened_between_two_looks_is_drawn() -> None:
    service = worked()
    before = service.look(0.0)
    service.work()
    text = shown(before, service.look(2.0))
    assert re.match(r"teacher at 127.0.0.1:9101: SERVING, up \d+ s\n", text)
    assert "streams messages 3, shared_memory 1 | queue 0.1 MB | compilations after ready 2" in text
    assert "model pong | pong | 1, 2 | aaa, bbb | onnxruntime cpu\n" in text
    # In 2 s a batch of 6 rows and 2 more of padding. Both reloads failed since the start.
    batches = r"batches 0.5/s \| rows in a batch 6.0 \| padding 25.0% \| forward p50 (\S+) ms"
    found = re.search(rf"{batches} \| reloads failed 2", text)
    # Two queries with 1 + 5 rows.
    queries, rows, queue, wait_p50, wait_p99, latency, *troubles = row(text, "labelling")
    assert (queries, rows, queue, *troubles) == ("1.0", "3.0", "0", "0.0", "0.0")
    # Within the buckets' width of what was measured: 0.02, 0.1 and 0.3 s.
    assert found is not None and float(found[1]) == pytest.approx(20, rel=0.5)
    assert float(wait_p50) <= float(wait_p99) == pytest.approx(100, rel=0.5)
    assert float(latency) == pytest.approx(300, rel=0.8)
    # Two refused, and one whose deadline passed at once; then one that expired in the queue.
    assert row(text, "acting") == ["0.0", "0.0", "12", "-", "-", "-", "1.0", "0.5"]
    assert row(text, "evaluation")[:2] == ["0.0", "0.0"] and row(text, "evaluation")[-1] == "0.5"


def test_after_a_restart_all_that_was_counted_since_is_new() -> None:
    before = worked().look(0.0)
    text = shown(before, worked().look(4.0))
    assert re.search(r": SERVING, up \d+ s \(restarted\)\n", text)
    # 2 queries and 6 rows in 4 s, though the counters stand where they stood.
    assert row(text, "labelling")[:2] == ["0.5", "1.5"]


def test_where_nothing_happened_there_is_nothing_to_measure() -> None:
    text = shown(Service().look(0.0), Service().look(1.0))
    assert "batches 0.0/s | rows in a batch - | padding - | forward p50 - ms" in text
    assert row(text, "labelling") == ["0.0", "0.0", "0", "-", "-", "-", "0.0", "0.0"]


@pytest.mark.parametrize("page", ["", "<html>hello</html>", "up 1\n", "rrl_teacher_serving 1\n"])
def test_other_pages_are_not_taken_for_a_teachers(
    page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_top, "fetch", lambda _: page)
    with pytest.raises(UserError, match="no teacher's metrics page .*--metrics"):
        look(ADDRESS)


@given(st.text(), st.integers(0, len(PAGE)), st.integers(0, len(PAGE)))
def test_a_damaged_page_is_drawn_or_refused(noise: str, start: int, end: int) -> None:
    before = parse(PAGE)
    try:
        damaged = parse(PAGE[:start] + noise + PAGE[end:])
    except ValueError:
        return
    shown(before, damaged)


@pytest.mark.parametrize("number", ["NaN", "-1", "+Inf", "-Inf", "1e308"])
def test_numbers_that_make_no_sense_are_drawn_all_the_same(number: str) -> None:
    names = "(?!.*start_time)rrl_.*"
    page = re.sub(rf"(?m)^({names}) \S+$", rf"\1 {number}", PAGE)
    assert "acting" in shown(parse(PAGE), parse(page))
    # From one such page to the next.
    assert "acting" in shown(parse(page), parse(page))


def test_names_from_the_page_do_not_command_the_terminal() -> None:
    evil = "\\n\x1b[31m[red]"
    page = PAGE.replace('model="pong"', f'model="{evil}"')
    page = page.replace('priority="acting"', f'priority="{evil}"')
    text = shown(parse(PAGE), parse(page))
    assert "\x1b" not in text
    assert text.count("??[31m[red]") == 2


@pytest.fixture
def teacher() -> Iterator[MetricsServer]:
    """A metrics server with a gauge that makes it a teacher's."""
    server = serve_page()
    yield server
    server.close()


def serve_page(port: int = 0) -> MetricsServer:
    """A page of one number, another one for another port."""
    registry = CollectorRegistry()
    started = Gauge("rrl_teacher_start_time_seconds", "When it began.", registry=registry)
    started.set(time.time() - 3725 + port)
    return MetricsServer(registry, port=port)


def test_a_service_that_goes_away_is_waited_for(teacher: MetricsServer) -> None:
    address = Address("127.0.0.1", teacher.port)
    views = map(drawn, frames(address, look(address), 0.001, threading.Event()))
    # 3725 s are an hour, two minutes and five seconds.
    assert f"teacher at {address}: NOT SERVING, up 1 h 02 min\n" in next(views)
    teacher.close()
    assert f"waiting for {address} to come back" in next(views)
    again = serve_page(address.port)
    try:
        assert "(restarted)" in next(views)
        assert "(restarted)" not in next(views)
    finally:
        again.close()


def test_where_nobody_is_the_user_is_told_what_to_do() -> None:
    with socket.socket() as taken:
        # Bound, not listening: no other process gets the port, and no answer comes.
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UserError, match="no teacher's metrics page .*rrl teacher serve"):
            top(metrics=f"127.0.0.1:{taken.getsockname()[1]}")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_view_is_drawn_until_it_is_told_to_stop(
    teacher: MetricsServer, is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()

    class Screen(io.StringIO):
        """Has seen enough when it was drawn on twice."""

        def flush(self) -> None:
            if self.getvalue().count("NOT SERVING") >= 2:
                stop.set()

    file = Screen()
    console = Console(file=file, width=100, height=30, force_terminal=is_terminal)
    monkeypatch.setattr(teacher_top, "make_console", lambda: console)
    monkeypatch.setattr(teacher_top, "install_shutdown_event", lambda: stop)
    in_vain = threading.Timer(PATIENCE_SECONDS, stop.set)
    in_vain.start()
    top(metrics=f"127.0.0.1:{teacher.port}", interval=0.1)
    in_vain.cancel()
    assert file.getvalue().count("NOT SERVING") >= 2
    # A terminal is given back as it was: out of the alternate screen, with its cursor.
    assert ("\x1b[?1049l" in file.getvalue()) == is_terminal


def test_the_command_prints_one_interval_as_plain_text_and_ends(teacher: MetricsServer) -> None:
    program = "import tyro; from services.cli.teacher_top import top; tyro.cli(top)"
    flags = ["--metrics", f"localhost:{teacher.port}", "--once", "--interval", "0.1"]
    done = subprocess.run([sys.executable, "-c", program, *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"teacher at localhost:{teacher.port}: NOT SERVING")
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("interval", [0.0, -1.0, float("nan"), 4000.0])
def test_an_interval_out_of_range_is_refused(interval: float) -> None:
    with pytest.raises(UserError, match="--interval is"):
        top(interval=interval)
