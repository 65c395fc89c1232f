"""`rrl teacher top`: numbers from pages, and a real metrics server that comes and goes."""

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

from rrl_client import Priority
from rrl_client.addresses import Address
from rrl_client.requests import RefusalCode
from services.cli import teacher_top
from services.cli.metrics_pages import Page, parse
from services.cli.teacher_top import frames, look, render, top
from services.shared.errors import UserError
from services.shared.metrics import MetricsServer
from services.teacher.batching.query import Query
from services.teacher.metrics import TeacherMetrics
from tests.support.patience import PATIENCE_SECONDS

ADDRESS = Address("127.0.0.1", 9101)

PAGE = """\
# TYPE rrl_teacher_serving gauge
rrl_teacher_serving 1
# TYPE rrl_teacher_start_time_seconds gauge
rrl_teacher_start_time_seconds 1000
# TYPE rrl_teacher_queue_bytes gauge
rrl_teacher_queue_bytes 84672
# TYPE rrl_teacher_compilations_after_ready counter
rrl_teacher_compilations_after_ready_total 2
# TYPE rrl_teacher_info gauge
rrl_teacher_info{model="pong",version="1",parameters="aaa",backend="jax cpu",game="pong"} 1
rrl_teacher_info{model="pong",version="2",parameters="bbb",backend="jax cpu",game="pong"} 1
# TYPE rrl_teacher_streams gauge
rrl_teacher_streams{observations="messages"} 3
rrl_teacher_streams{observations="shared_memory"} 1
# TYPE rrl_teacher_reloads counter
rrl_teacher_reloads_total{model="pong",result="ok"} 5
rrl_teacher_reloads_total{model="pong",result="failed"} 1
# TYPE rrl_teacher_batch_rows histogram
rrl_teacher_batch_rows_bucket{model="pong",le="8.0"} 10
rrl_teacher_batch_rows_bucket{model="pong",le="+Inf"} 10
rrl_teacher_batch_rows_count{model="pong"} 10
rrl_teacher_batch_rows_sum{model="pong"} 60
# TYPE rrl_teacher_forward_seconds histogram
rrl_teacher_forward_seconds_bucket{model="pong",le="0.01"} 10
rrl_teacher_forward_seconds_bucket{model="pong",le="+Inf"} 10
rrl_teacher_forward_seconds_count{model="pong"} 10
rrl_teacher_forward_seconds_sum{model="pong"} 0.05
# TYPE rrl_teacher_padding_rows counter
rrl_teacher_padding_rows_total{model="pong"} 20
# TYPE rrl_teacher_queries counter
rrl_teacher_queries_total{model="pong",priority="acting",code="OK"} 40
rrl_teacher_queries_total{model="pong",priority="acting",code="DEADLINE_EXCEEDED"} 4
# TYPE rrl_teacher_rejected counter
rrl_teacher_rejected_total{model="pong",priority="acting",reason="full"} 3
rrl_teacher_rejected_total{model="pong",priority="acting",reason="too_late"} 2
# TYPE rrl_teacher_rows counter
rrl_teacher_rows_total{model="pong",priority="acting"} 60
# TYPE rrl_teacher_expired counter
rrl_teacher_expired_total{model="pong",priority="acting"} 4
# TYPE rrl_teacher_wait_seconds histogram
rrl_teacher_wait_seconds_bucket{model="pong",priority="acting",le="0.001"} 30
rrl_teacher_wait_seconds_bucket{model="pong",priority="acting",le="0.002"} 40
rrl_teacher_wait_seconds_bucket{model="pong",priority="acting",le="+Inf"} 40
rrl_teacher_wait_seconds_count{model="pong",priority="acting"} 40
rrl_teacher_wait_seconds_sum{model="pong",priority="acting"} 0.03
# TYPE rrl_teacher_queue_rows gauge
rrl_teacher_queue_rows{model="pong",priority="acting"} 12
rrl_teacher_queue_rows{model="pong",priority="labelling"} 0
"""


def changed(*changes: tuple[str, str]) -> Page:
    """The page with pieces of text replaced."""
    text = PAGE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse(text)


def shown(before: Page, after: Page, *, seconds: float = 1.0) -> str:
    """What is drawn of two pages that are so far apart."""
    after = dataclasses.replace(after, seconds=before.seconds + seconds)
    return drawn(render(before, after, ADDRESS))


def drawn(renderable: object) -> str:
    console = Console(file=io.StringIO(), width=100, no_color=True)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def row(text: str, priority: str) -> list[str]:
    """Cells of a priority: queries and rows per second, queue, waits, latency, troubles."""
    return next(line.split()[1:] for line in text.splitlines() if line.startswith(priority))


def test_what_was_counted_since_a_restart_is_drawn() -> None:
    started = f"start_time_seconds {time.time() - 3725:.0f}"
    text = shown(Page(), changed(("start_time_seconds 1000", started)))
    assert "teacher at 127.0.0.1:9101: SERVING, up 1 h 02 min (restarted)" in text
    assert "streams messages 3, shared_memory 1 | queue 0.1 MB | compilations after ready 2" in text
    assert "model pong | pong | 1, 2 | aaa, bbb | jax cpu" in text
    # 20 rows of padding beside 60 others in 10 batches; all of these took up to 10 ms.
    line = "batches 10.0/s | rows in a batch 6.0 | padding 25.0% | forward p50 5.00 ms"
    assert f"{line} | reloads failed 1" in text
    # Answered are only those that ended with OK; refusals count whatever their reason: 3 + 2. The
    # median wait is rank 20 of 30 in (0, 1] ms, the last rank 39.6 of 40 in (1, 2] ms.
    cells = ["40.0", "60.0", "12", "0.67", "1.96", "-", "5.0", "4.0"]
    assert row(text, "acting") == cells
    assert row(text, "labelling") == ["0.0", "0.0", "0", "-", "-", "-", "0.0", "0.0"]


def test_rates_are_differences_per_second() -> None:
    acting, pong = 'model="pong",priority="acting"', 'model="pong"'
    after = changed(
        ('code="OK"} 40', 'code="OK"} 140'),
        (f"rows_total{{{acting}}} 60", f"rows_total{{{acting}}} 460"),
        ('reason="full"} 3', 'reason="full"} 13'),
        (f"expired_total{{{acting}}} 4", f"expired_total{{{acting}}} 5"),
        (f"batch_rows_count{{{pong}}} 10", f"batch_rows_count{{{pong}}} 60"),
        (f"batch_rows_sum{{{pong}}} 60", f"batch_rows_sum{{{pong}}} 360"),
        (f"padding_rows_total{{{pong}}} 20", f"padding_rows_total{{{pong}}} 120"),
        (f'seconds_bucket{{{pong},le="0.01"}} 10', f'seconds_bucket{{{pong},le="0.01"}} 60'),
        (f'seconds_bucket{{{pong},le="+Inf"}} 10', f'seconds_bucket{{{pong},le="+Inf"}} 60'),
    )
    text = shown(parse(PAGE), after, seconds=2.0)
    # In 2 s: 100 queries with 400 rows, 10 refused, 1 expired; no new waits.
    assert row(text, "acting") == ["50.0", "200.0", "12", "-", "-", "-", "5.0", "0.5"]
    # 50 batches with 300 real and 100 padding rows: 6 rows each, a quarter wasted. All in one
    # bucket from 0 to 0.01 s: the median is taken at its middle.
    assert "batches 25.0/s | rows in a batch 6.0 | padding 25.0% | forward p50 5.00 ms" in text
    assert "(restarted)" not in text


def test_after_a_restart_all_that_was_counted_since_is_new() -> None:
    after = changed(("start_time_seconds 1000", "start_time_seconds 1500"))
    # 40 queries and 60 rows in 4 s, though the counters stand where they stood.
    assert row(shown(parse(PAGE), after, seconds=4.0), "acting")[:2] == ["10.0", "15.0"]


@pytest.mark.parametrize("page", ["", "<html>hello</html>", "up 1\n", "rrl_teacher_serving 1\n"])
def test_other_pages_are_not_taken_for_a_teachers(
    page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_top, "fetch", lambda _: page)
    with pytest.raises(UserError, match="no teacher's metrics page .*--metrics"):
        look(ADDRESS)


@given(st.text(), st.integers(0, len(PAGE)), st.integers(0, len(PAGE)))
def test_a_damaged_page_is_drawn_or_refused(noise: str, start: int, end: int) -> None:
    try:
        damaged = parse(PAGE[:start] + noise + PAGE[end:])
    except ValueError:
        return
    shown(parse(PAGE), damaged)


@pytest.mark.parametrize("number", ["NaN", "-1", "+Inf", "-Inf", "1e308"])
def test_numbers_that_make_no_sense_are_drawn_all_the_same(number: str) -> None:
    names = "(?!.*start_time)rrl_.*"
    page = re.sub(rf"(?m)^({names}) \S+$", rf"\1 {number}", PAGE)
    assert "acting" in shown(parse(PAGE), parse(page))
    # From one such page to the next.
    assert "acting" in shown(parse(page), parse(page))


class Nobody:
    """Wants no answers."""

    def settled(self, queries: Sequence[Query]) -> None:
        """Do nothing."""


def test_the_services_own_page_is_understood() -> None:
    registry = CollectorRegistry()
    metrics = TeacherMetrics(registry)
    counts = metrics.model("pong")

    def page() -> Page:
        return parse(generate_latest(registry).decode())

    before = page()
    queries = [
        Query(
            np.zeros((rows, 1), np.uint8),
            deadline=1e9,
            priority=Priority.LABELLING,
            client=None,
            sink=Nobody(),
        )
        for rows in (1, 5)
    ]
    counts.taken(queries, now=0.1)
    counts.batch_ended(rows=6, padding_rows=2, seconds=0.02)
    counts.settled(queries, now=0.3)
    counts.refused(Priority.ACTING, RefusalCode.RESOURCE_EXHAUSTED, "full")
    text = shown(before, page(), seconds=2.0)
    # In 2 s: two queries of 1 + 5 rows in one batch with 2 more of padding, and one refused.
    queries_per_second, rows_per_second, _, wait, _, latency, *_ = row(text, "labelling")
    assert (queries_per_second, rows_per_second) == ("1.0", "3.0")
    assert row(text, "acting")[-2:] == ["0.5", "0.0"]
    assert row(text, "evaluation")[0] == "0.0"
    line = r"batches 0.5/s \| rows in a batch 6.0 \| padding 25.0% \| forward p50 (\S+) ms"
    forward = re.search(line, text)
    # Within the buckets' width of what was measured: 0.1, 0.3 and 0.02 s.
    assert float(wait) == pytest.approx(100, rel=0.5)
    assert float(latency) == pytest.approx(300, rel=0.8)
    assert forward is not None and float(forward[1]) == pytest.approx(20, rel=0.5)


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
    started.set(1000 + port)
    return MetricsServer(registry, port=port)


def test_a_service_that_goes_away_is_waited_for(teacher: MetricsServer) -> None:
    address = Address("127.0.0.1", teacher.port)
    views = map(drawn, frames(address, look(address), 0.001, threading.Event()))
    assert "teacher at" in next(views)
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
        # Bound, not listening: nobody else gets the port, nobody answers.
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
