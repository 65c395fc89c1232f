from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import psutil
import pytest
from prometheus_client import CollectorRegistry, Counter

from services.cli.shutdown import install_shutdown_event
from services.shared import metrics
from services.shared.errors import UserError
from services.shared.metrics import MetricsServer
from tests.support.patience import PATIENCE_SECONDS

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def read_page(port: int, host: str = "127.0.0.1") -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    page: bytes = opener.open(f"http://{host}:{port}/metrics", timeout=PATIENCE_SECONDS).read()
    return page


@pytest.fixture
def own_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_handlers")
@pytest.mark.parametrize("signum", STOPS)
def test_a_signal_sets_the_event_and_ends_nothing(signum: signal.Signals) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    event = install_shutdown_event()
    assert not event.is_set()
    os.kill(os.getpid(), signum)
    assert event.wait(PATIENCE_SECONDS)


@pytest.mark.usefixtures("own_handlers")
def test_what_nohup_has_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    install_shutdown_event()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_log_lines_name_the_role_and_go_to_stderr() -> None:
    program = (
        "import logging; from services.shared.logging import setup_logging;"
        "setup_logging('actor-1%s'); logging.getLogger('services.x').info('hello %d', 3);"
        "logging.getLogger('library').info('unheard')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == ""
    assert done.stderr.strip().endswith("INFO actor-1%s: hello 3")
    assert "unheard" not in done.stderr


def test_metrics_are_read_over_http_until_closed_and_a_taken_port_is_an_error() -> None:
    registry = CollectorRegistry()
    Counter("rrl_test_things_total", "Things.", registry=registry).inc(3)
    server = MetricsServer(registry)
    assert b"rrl_test_things_total 3.0" in read_page(server.port)
    with pytest.raises(UserError, match="--metrics-port"):
        MetricsServer(registry, port=server.port)
    server.close()
    with pytest.raises(OSError):
        read_page(server.port)


def test_connections_that_say_nothing_take_no_threads_and_few_descriptors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "_IDLE_SECONDS", 1)
    server = MetricsServer(CollectorRegistry())
    process = psutil.Process()
    threads, descriptors = process.num_threads(), process.num_fds()
    with contextlib.ExitStack() as stack:
        stack.callback(server.close)
        # More than are let in at once, so that the page waits for some of them to be let go.
        for at in range(150):
            idle = socket.create_connection(("127.0.0.1", server.port))
            stack.callback(idle.close)
            idle.sendall(b"GET /metrics HTTP/1.1\r\n"[: 8 * (at % 3)])
        read_page(server.port)
        assert process.num_threads() <= threads
        # Ours are 150 of them.
        assert process.num_fds() - descriptors - 150 < 100


def test_a_page_whose_loop_is_woken_by_another_thread_can_be_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = MetricsServer(CollectorRegistry())
    trigger = server._server.trigger
    wake = trigger._physical_pull

    def wake_late() -> None:
        # A thread that has just answered wakes the loop, which does all it was asked and ends.
        wake()
        server._thread.join(PATIENCE_SECONDS)
        wake()

    monkeypatch.setattr(trigger, "_physical_pull", wake_late)
    server.close()


def test_a_process_that_has_no_thread_left_still_hears_that_it_is_to_end() -> None:
    program = """
import os, signal, sys, threading
from services.cli.shutdown import install_shutdown_event
stop = install_shutdown_event()

def refuse(self):
    raise RuntimeError("can't start new thread")

threading.Thread.start = refuse
os.kill(os.getpid(), signal.SIGTERM)
os.kill(os.getpid(), signal.SIGTERM)
sys.exit(0 if stop.wait(60) else 3)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_the_page_of_a_process_with_thousands_of_descriptors_is_served() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    server = MetricsServer(CollectorRegistry())
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        stack.callback(server.close)
        for _ in range(1500):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        read_page(server.port)


def test_nobody_can_send_a_page_much() -> None:
    server = MetricsServer(CollectorRegistry())
    with (
        contextlib.closing(server),
        contextlib.closing(socket.create_connection(("127.0.0.1", server.port))) as caller,
    ):
        caller.sendall(b"POST /metrics HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
        # It may close the connection first.
        with contextlib.suppress(OSError):
            caller.sendall(bytes(1_000_000))
        caller.settimeout(PATIENCE_SECONDS)
        with contextlib.suppress(ConnectionResetError):
            assert b"413" in caller.recv(1000)


@pytest.mark.parametrize(
    ("host", "asked"), [("::", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]")]
)
def test_a_page_is_served_at_every_address_of_its_host(host: str, asked: str) -> None:
    with contextlib.closing(MetricsServer(CollectorRegistry(), host=host)) as server:
        assert read_page(server.port, asked) == b""
