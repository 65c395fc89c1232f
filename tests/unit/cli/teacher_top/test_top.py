"""`rrl teacher top`: numbers from pages, and a real metrics server that comes and goes."""

from __future__ import annotations

import io
import re
import socket
import subprocess
import sys
import threading
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
from services.cli.metrics_pages.histogram import Histogram
from services.cli.metrics_pages.page import Page, parse
from services.cli.teacher_top.command import top
from services.cli.teacher_top.interval import Interval, teacher_interval
from services.cli.teacher_top.rates import ModelRates, rates_of
from services.cli.teacher_top.view import TeacherTop, print_once, render, watch
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


def rates_between(before: Page, after: Page, seconds: float) -> dict[str, ModelRates]:
    return rates_of(teacher_interval(before, after, seconds))


def shown(before: Page, after: Page, *, uptime_seconds: float = 0.0) -> str:
    interval = teacher_interval(before, after, 1.0)
    return drawn(render(interval, ADDRESS, uptime_seconds=uptime_seconds))


def drawn(renderable: object) -> str:
    console = Console(file=io.StringIO(), width=100, no_color=True)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_page_is_read_into_its_numbers() -> None:
    page = parse(PAGE)
    assert page.value("rrl_teacher_start_time_seconds") == 1000.0
    assert page.value("rrl_teacher_serving") == 1.0
    assert page.value("rrl_teacher_queue_bytes") == 84672.0
    assert page.value("rrl_teacher_compilations_after_ready_total") == 2.0
    assert page.by("rrl_teacher_streams", "observations") == {
        "messages": 3,
        "shared_memory": 1,
    }
    assert [sample.labels["parameters"] for sample in page.find("rrl_teacher_info")] == [
        "aaa",
        "bbb",
    ]
    batch_rows = page.histogram("rrl_teacher_batch_rows", model="pong")
    assert batch_rows == Histogram((8.0, float("inf")), (10.0, 10.0), 60.0)
    # What was counted since the start, as if it were of one second.
    model = rates_of(Interval(before=Page(), now=page, seconds=1.0))["pong"]
    # 20 rows of padding beside 60 others.
    assert (model.padding_share, model.reloads_failed) == (0.25, 1.0)
    priority = model.priorities["acting"]
    # Answered are only those that ended with OK; refusals count whatever their reason: 3 + 2.
    assert (
        priority.queries_per_second,
        priority.rows_per_second,
        priority.rejected_per_second,
        priority.expired_per_second,
    ) == (40.0, 60.0, 5.0, 4.0)
    assert priority.queue_rows == 12.0
    assert model.priorities["labelling"].queries_per_second == 0.0


def test_rates_are_differences_per_second() -> None:
    acting, pong = 'model="pong",priority="acting"', 'model="pong"'
    after = changed(
        ('code="OK"} 40', 'code="OK"} 140'),
        (f"rows_total{{{acting}}} 60", f"rows_total{{{acting}}} 460"),
        ('reason="full"} 3', 'reason="full"} 13'),
        (f"expired_total{{{acting}}} 4", f"expired_total{{{acting}}} 5"),
        (f'batch_rows_bucket{{{pong},le="8.0"}} 10', f'batch_rows_bucket{{{pong},le="8.0"}} 60'),
        (f'batch_rows_bucket{{{pong},le="+Inf"}} 10', f'batch_rows_bucket{{{pong},le="+Inf"}} 60'),
        (f"batch_rows_sum{{{pong}}} 60", f"batch_rows_sum{{{pong}}} 360"),
        (f"padding_rows_total{{{pong}}} 20", f"padding_rows_total{{{pong}}} 120"),
        (f'seconds_bucket{{{pong},le="0.01"}} 10', f'seconds_bucket{{{pong},le="0.01"}} 60'),
        (f'seconds_bucket{{{pong},le="+Inf"}} 10', f'seconds_bucket{{{pong},le="+Inf"}} 60'),
    )
    model = rates_between(parse(PAGE), after, 2.0)["pong"]
    priority = model.priorities["acting"]
    # In 2 s: 100 queries with 400 rows, 10 refused, 1 expired.
    assert (priority.queries_per_second, priority.rows_per_second) == (50.0, 200.0)
    assert (priority.rejected_per_second, priority.expired_per_second) == (5.0, 0.5)
    # 50 batches with 300 real and 100 padding rows: 6 rows each, a quarter wasted.
    assert (model.batches_per_second, model.mean_batch_rows) == (25.0, 6.0)
    assert model.padding_share == 0.25
    # All 50 in one bucket from 0 to 0.01 s: the median is taken at its middle.
    assert model.forward_p50_seconds == pytest.approx(0.005)
    # Nothing waited anew.
    assert priority.wait_p50_seconds is None


def test_after_a_restart_all_that_was_counted_since_is_new() -> None:
    after = changed(("start_time_seconds 1000", "start_time_seconds 1500"))
    priority = rates_between(parse(PAGE), after, 4.0)["pong"].priorities["acting"]
    # 40 queries and 60 rows in 4 s, though the counters stand where they stood.
    assert priority.queries_per_second == 10.0
    assert priority.rows_per_second == 15.0


def test_a_counter_that_went_back_began_again_from_zero() -> None:
    after = changed(('code="OK"} 40', 'code="OK"} 6'))
    priority = rates_between(parse(PAGE), after, 2.0)["pong"].priorities["acting"]
    assert priority.queries_per_second == 3.0


def test_rates_need_time_between_the_looks() -> None:
    with pytest.raises(ValueError, match="need above 0"):
        rates_between(parse(PAGE), parse(PAGE), 0.0)


@pytest.mark.parametrize("page", ["", "<html>hello</html>", "up 1\n", "rrl_teacher_serving 1\n"])
def test_other_pages_are_not_taken_for_a_teachers(page: str) -> None:
    with pytest.raises(UserError, match="no teacher's metrics page .*--metrics"):
        TeacherTop(ADDRESS, lambda _: page)


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
    rates = rates_between(before, page(), 2.0)["pong"]

    assert set(rates.priorities) == {"acting", "labelling", "evaluation"}
    # In 2 s: two queries of 1 + 5 rows in one batch with 2 more of padding, and one refused.
    labelling = rates.priorities["labelling"]
    assert (labelling.queries_per_second, labelling.rows_per_second) == (1.0, 3.0)
    assert (rates.batches_per_second, rates.mean_batch_rows) == (0.5, 6.0)
    assert rates.padding_share == 0.25
    assert rates.priorities["acting"].rejected_per_second == 0.5
    # Within the buckets' width of what was measured: 0.1, 0.3 and 0.02 s.
    assert labelling.wait_p50_seconds == pytest.approx(0.1, rel=0.5)
    assert labelling.latency_p99_seconds == pytest.approx(0.3, rel=0.8)
    assert rates.forward_p50_seconds == pytest.approx(0.02, rel=0.5)


def test_the_view_shows_where_it_looks_and_what_is_wrong() -> None:
    text = shown(parse(PAGE), parse(PAGE), uptime_seconds=3725.0)
    # 3725 s are an hour, two minutes and five seconds.
    assert "teacher at 127.0.0.1:9101: SERVING, up 1:02:05" in text
    assert "streams messages 3, shared_memory 1 | queue 0.1 MB | compilations after ready 2" in text
    assert "version 1 (aaa), 2 (bbb) | jax cpu" in text
    assert "1 reloads failed" in text
    assert "acting" in text and "labelling" in text


def test_names_from_the_page_do_not_command_the_terminal() -> None:
    evil = '\\n\x1b[31m[red]"'.replace('"', "")
    page = PAGE.replace('model="pong"', f'model="{evil}"')
    text = shown(parse(PAGE), parse(page))
    assert "\x1b" not in text
    assert "??[31m[red]" in text


@pytest.fixture
def teacher() -> Iterator[MetricsServer]:
    """A metrics server with a gauge that makes it a teacher's."""
    server = serve_page()
    yield server
    server.close()


def serve_page(port: int = 0, name: str = "rrl_teacher_start_time_seconds") -> MetricsServer:
    """A page of one number, another one for another port."""
    registry = CollectorRegistry()
    Gauge(name, "When it began.", registry=registry).set(1000 + port)
    return MetricsServer(registry, port=port)


def test_a_service_that_goes_away_is_waited_for(teacher: MetricsServer) -> None:
    port = teacher.port
    view = TeacherTop(Address("127.0.0.1", port))
    assert "teacher at" in drawn(view.step())
    teacher.close()
    assert f"waiting for 127.0.0.1:{port} to come back" in drawn(view.step())
    again = serve_page(port)
    try:
        assert "(restarted)" in drawn(view.step())
        assert "(restarted)" not in drawn(view.step())
    finally:
        again.close()


def test_where_nobody_is_the_user_is_told_what_to_do() -> None:
    with socket.socket() as taken:
        # Bound, not listening: nobody else gets the port, nobody answers.
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UserError, match="no metrics page .*rrl teacher serve"):
            TeacherTop(Address("127.0.0.1", taken.getsockname()[1]))


def test_another_services_page_is_named_as_such() -> None:
    server = serve_page(name="something")
    try:
        with pytest.raises(UserError, match="no rrl_teacher_start_time_seconds"):
            TeacherTop(Address("127.0.0.1", server.port))
    finally:
        server.close()


def test_one_interval_is_printed_as_plain_text(teacher: MetricsServer) -> None:
    console = Console(file=io.StringIO(), width=100)
    address = Address("127.0.0.1", teacher.port)
    print_once(address, console, interval_seconds=0.01, stop=threading.Event())
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.startswith(f"teacher at 127.0.0.1:{teacher.port}: NOT SERVING")
    assert "\x1b" not in text


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_view_is_drawn_until_it_is_told_to_stop(
    teacher: MetricsServer, is_terminal: bool
) -> None:
    stop = threading.Event()

    class Screen(io.StringIO):
        """Has seen enough when it was drawn on twice."""

        def flush(self) -> None:
            if self.getvalue().count("NOT SERVING") >= 2:
                stop.set()

    file = Screen()
    console = Console(file=file, width=100, height=30, force_terminal=is_terminal)
    address = Address("127.0.0.1", teacher.port)
    in_vain = threading.Timer(PATIENCE_SECONDS, stop.set)
    in_vain.start()
    watch(address, console, interval_seconds=0.02, stop=stop)
    in_vain.cancel()
    assert file.getvalue().count("NOT SERVING") >= 2
    # A terminal is given back as it was: out of the alternate screen, with its cursor.
    assert ("\x1b[?1049l" in file.getvalue()) == is_terminal


def test_the_command_prints_one_interval_and_ends(teacher: MetricsServer) -> None:
    program = "import tyro; from services.cli.teacher_top.command import top; tyro.cli(top)"
    flags = ["--metrics", f"localhost:{teacher.port}", "--once", "--interval", "0.1"]
    done = subprocess.run([sys.executable, "-c", program, *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"teacher at localhost:{teacher.port}: NOT SERVING")


@pytest.mark.parametrize("interval", [0.0, -1.0, float("nan"), 4000.0])
def test_an_interval_out_of_range_is_refused(interval: float) -> None:
    with pytest.raises(UserError, match="--interval is"):
        top(interval=interval)
