"""Pages as they come over HTTP, and as numbers."""

from __future__ import annotations

import socket
import threading

import pytest

from rrl_client.addresses import Address
from services.cli.metrics_pages.histogram import Histogram
from services.cli.metrics_pages.page import fetch, page_address, parse
from services.shared.errors import UserError


def test_what_speaks_no_http_is_named_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1024)
                peer.sendall(b"\x00\x00\x12\x04 not http\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ValueError, match="does not speak HTTP"):
            fetch(Address("127.0.0.1", listener.getsockname()[1]))
        thread.join()


def test_a_server_that_says_nothing_is_not_waited_for_long() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(TimeoutError),
    ):
        fetch(Address("127.0.0.1", listener.getsockname()[1]), timeout_seconds=0.05)


@pytest.mark.parametrize(
    "text", ["http://node:9103/metrics", "node:9103", "http://node:9103/", "node:9103/metrics"]
)
def test_pages_are_named_as_in_a_browser_or_as_addresses(text: str) -> None:
    assert page_address(text) == Address("node", 9103)


@pytest.mark.parametrize("text", ["https://node:9103/metrics", "node", "http://node:9103/other"])
def test_what_is_no_page_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        page_address(text)


def test_a_page_of_something_else_is_refused_or_a_strangers() -> None:
    assert parse("up 1\n").role is None
    assert parse("rrl_actor_steps_total NaN\n").value("rrl_actor_steps_total") is None
    with pytest.raises(ValueError, match="text format"):
        parse("<html>{")


TABLES = """\
rrl_replay_items{table="student",shard="0"} 4
rrl_replay_items{table="student",shard="1"} 2
rrl_replay_items{table="teacher",shard="0"} 3
rrl_replay_items{table="broken",shard="0"} NaN
"""


def test_samples_add_up_by_their_labels() -> None:
    page = parse(TABLES)
    assert page.value("rrl_replay_items", table="student") == 6.0
    assert page.value("rrl_replay_items", table="other") is None
    assert page.by("rrl_replay_items", "table") == {"student": 6.0, "teacher": 3.0}
    assert page.by("rrl_replay_items", "shard", table="student") == {"0": 4.0, "1": 2.0}
    assert page.label_values("table", shard="0") == ["student", "teacher", "broken"]


def test_histograms_add_up_by_their_labels() -> None:
    page = parse(
        'x_bucket{a="1",le="+Inf"} 5\nx_bucket{a="1",le="0.5"} 2\nx_sum{a="1"} 9\n'
        'x_bucket{a="2",le="+Inf"} 1\nx_bucket{a="2",le="0.5"} 1\nx_sum{a="2"} 0.25\n'
    )
    assert page.histogram("x") == Histogram((0.5, float("inf")), (3.0, 6.0), 9.25)
    assert page.histogram("x", a="2") == Histogram((0.5, float("inf")), (1.0, 1.0), 0.25)
    assert page.histogram("y") == Histogram()


@pytest.mark.parametrize("bucket", ["x_bucket 1", 'x_bucket{le="high"} 1'])
def test_a_bucket_without_a_bound_is_not_of_prometheus(bucket: str) -> None:
    with pytest.raises(ValueError, match="text format"):
        parse(f"{bucket}\n")
