"""Pages as they come over HTTP, and as numbers."""

from __future__ import annotations

import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl_client.addresses import Address
from services.cli.metrics_pages import Page, fetch, page_address, parse
from services.shared.errors import UserError

INFINITY = float("inf")


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
    # Not 50051, the port of the gRPC service.
    with pytest.raises(UserError, match=r"write http://HOST:PORT/metrics .* 9101\)$"):
        page_address(text)


@pytest.mark.parametrize("text", ["<html>{", "x_bucket 1\n", 'x_bucket{le="high"} 1\n'])
def test_what_is_not_of_prometheus_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="text format"):
        parse(text)


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
    assert page.value("rrl_replay_items", table="broken") is None
    assert page.total("rrl_replay_items", table="broken") == 0.0
    assert page.label_values("table", shard="0") == ["student", "teacher", "broken"]
    assert page.role is None, "a stranger's"


def test_what_is_new_is_what_an_earlier_page_lacks() -> None:
    before = parse('a_total{k="1"} 5\na_total{k="2"} 7\nx_bucket{le="+Inf"} 2\nqueue 9\n')
    now = parse('a_total{k="1"} 8\na_total{k="2"} 3\nx_bucket{le="+Inf"} 6\nqueue 11\nb_total 1\n')
    new = now.since(before)
    # One that fell started again from 0; one that was not there began at 0; gauges stay.
    assert (new.value("a_total", k="1"), new.value("a_total", k="2")) == (3.0, 3.0)
    assert (new.value("x_bucket"), new.value("b_total"), new.value("queue")) == (4.0, 1.0, 11.0)
    assert now.since(Page()).samples == now.samples


def buckets(bounds: tuple[float, ...], counts: tuple[float, ...], **labels: str) -> str:
    more = "".join(f',{label}="{value}"' for label, value in labels.items())
    lines = (
        f'x_bucket{{le="{b}"{more}}} {count}\n' for b, count in zip(bounds, counts, strict=True)
    )
    return "".join(lines)


BOUNDS = (1.0, 2.0, 4.0, INFINITY)


@pytest.mark.parametrize(
    ("counts", "q", "expected"),
    [
        # Rank 5 of 10 in (1, 2], which holds the ranks 2 to 8: 1 + (5 - 2) / 6.
        ((2, 8, 10, 10), 0.5, 1.5),
        # Rank 1 of 10 in the first bucket, (0, 1], which holds 2.
        ((2, 8, 10, 10), 0.1, 0.5),
        # Rank 9.9 of 10 in (2, 4], which holds the ranks 8 to 10: 2 + 2 x 1.9 / 2.
        ((2, 8, 10, 10), 0.99, 3.9),
        # Beyond the last finite bound there is nothing to interpolate to.
        ((0, 0, 1, 10), 0.5, 4.0),
        ((0, 0, 0, 0), 0.5, None),
    ],
)
def test_quantiles_follow_prometheus_rule(
    counts: tuple[float, ...], q: float, expected: float | None
) -> None:
    result = parse(buckets(BOUNDS, counts)).quantile("x", q)
    assert result == (None if expected is None else pytest.approx(expected))


def test_histograms_add_up_by_their_labels() -> None:
    # Together the counts of the first case above.
    page = parse(buckets(BOUNDS, (1, 5, 6, 6), a="1") + buckets(BOUNDS, (1, 3, 4, 4), a="2"))
    assert page.quantile("x", 0.5) == 1.5
    # Rank 2 of 4 in (1, 2], which holds the ranks 1 to 3.
    assert page.quantile("x", 0.5, a="2") == 1.5
    assert page.quantile("y", 0.5) is None
    assert parse(buckets((INFINITY,), (3.0,))).quantile("x", 0.5) is None, "no finite bucket"


@given(st.lists(st.floats(0, 5), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_of_the_value_with_that_rank(
    values: list[float], q: float
) -> None:
    counts = tuple(float(sum(value <= bound for value in values)) for bound in BOUNDS)
    estimate = parse(buckets(BOUNDS, counts)).quantile("x", q)
    ranked = sorted(values)
    # The smallest value with at least q of all values at or below it.
    exact = next(v for i, v in enumerate(ranked, 1) if i >= q * len(values))
    upper = next(bound for bound in BOUNDS if exact <= bound)
    lower = max((bound for bound in (0.0, *BOUNDS) if bound < upper), default=0.0)
    assert estimate is not None
    assert lower <= estimate <= (lower if upper == INFINITY else upper)
