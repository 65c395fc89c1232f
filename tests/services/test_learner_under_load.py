"""Weights for more actors than can be served at once, and for one that does not take its own."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import grpc
import numpy as np
import pytest

from protos.rrl.learner.v1 import learner_pb2, learner_pb2_grpc
from rrl_agents.types import Params, Progress
from services.learner.codec import EvaluationReport, progress_to_proto
from services.learner.weight_client import Purpose, WeightClient
from services.learner.weight_server import BytesUnderWay, WeightServer
from services.learner.weight_store import Offer, Snapshot
from tests.support.patience import PATIENCE_SECONDS

MEGABYTE = 10**6


class Run:
    """A run with weights of one megabyte."""

    session = "first"
    progress = Progress(random_return=-1.0)

    def __init__(self) -> None:
        self.acting = Offer()
        self.evaluation = Offer()
        params: Params = {"params": {"kernel": np.zeros(MEGABYTE // 4, np.float32)}}
        self.acting.publish(Snapshot(version=7, params=params, progress=self.progress))

    def report_progress(self) -> learner_pb2.GetProgressResponse:
        return learner_pb2.GetProgressResponse(progress=progress_to_proto(self.progress))

    def take_evaluation(self, report: EvaluationReport) -> Progress:
        return self.progress


@contextlib.contextmanager
def serving(max_bytes_under_way: int) -> Iterator[int]:
    server = WeightServer(Run(), host="127.0.0.1", port=0, max_bytes_under_way=max_bytes_under_way)
    port = server.start()
    try:
        yield port
    finally:
        server.stop(0.0)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1)."""
    header = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return header + payload


def literal(name_index: int, value: bytes) -> bytes:
    """A header field whose name is in HPACK's static table (RFC 7541, 6.2.2)."""
    high = name_index - 15
    name = bytes([name_index]) if high < 0 else bytes([15, high])
    return name + bytes([len(value)]) + value


class Sluggard:
    """Asks for weights in HTTP/2 by hand, and allows not one byte of the answers to be sent."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        # Setting 4, the window of every stream, is 0.
        no_window = frame(4, 0, 0, (4).to_bytes(2, "big") + (0).to_bytes(4, "big"))
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + no_window + frame(4, 1, 0))

    def ask(self) -> None:
        """Ask once; returns when the answer has begun."""
        headers = (
            b"\x83\x86"  # :method POST, :scheme http
            + literal(4, b"/rrl.learner.v1.Learner/GetWeights")
            + literal(1, b"localhost")
            + literal(31, b"application/grpc")
            + b"\x00\x02te\x08trailers"
            + b"\x00\x0cgrpc-timeout\x0360S"
        )
        # An empty message: nothing is known, the purpose is to act.
        self._socket.sendall(frame(1, 4, 1, headers) + frame(0, 1, 1, bytes(5)))
        answer = b""
        while b"application/grpc" not in answer:
            answer += self._socket.recv(4096)

    def close(self) -> None:
        self._socket.close()


def test_weights_that_nobody_takes_are_bounded_and_others_still_hear_of_progress() -> None:
    with (
        # One answer of a megabyte and a little has room, another beside it has not.
        serving(max_bytes_under_way=2 * MEGABYTE) as port,
        contextlib.closing(WeightClient(f"127.0.0.1:{port}", Purpose.ACT)) as actor,
        contextlib.closing(Sluggard(port)) as sluggard,
    ):
        sluggard.ask()
        for _ in range(3):
            update = actor.fetch(0)
            assert update.params is None
            assert (update.version, update.progress.random_return) == (7, -1.0)
        sluggard.close()
        end = time.monotonic() + PATIENCE_SECONDS
        while actor.fetch(0).params is None:
            assert time.monotonic() < end, "the room is not given back"
            time.sleep(0.01)


@pytest.mark.parametrize("timeout_seconds", [None, 1000.0])
def test_weights_are_not_sent_without_end(timeout_seconds: float | None) -> None:
    with (
        serving(max_bytes_under_way=MEGABYTE) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        pytest.raises(grpc.RpcError) as raised,
    ):
        learner_pb2_grpc.LearnerStub(channel).GetWeights(
            learner_pb2.GetWeightsRequest(), timeout=timeout_seconds
        )
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "deadline" in str(raised.value.details())


class Call:
    """A call that may be over already when somebody wants to know its end."""

    def __init__(self, *, is_over: bool = False) -> None:
        self._is_over = is_over
        self._at_end: list[Callable[[], None]] = []

    def add_callback(self, callback: Callable[[], None]) -> bool:
        self._at_end.append(callback)
        return not self._is_over

    def end(self) -> None:
        for callback in self._at_end:
            callback()


@pytest.mark.parametrize("first", [10, 60, 100])
def test_what_is_under_way_stays_within_its_bound(first: int) -> None:
    under_way, call = BytesUnderWay(100), Call()
    assert under_way.begin(first, call)
    assert under_way.begin(40, Call()) == (first + 40 <= 100)
    call.end()
    assert under_way.begin(60, Call())


def test_an_answer_larger_than_the_bound_goes_alone() -> None:
    under_way, call = BytesUnderWay(100), Call()
    assert under_way.begin(200, call)
    assert not under_way.begin(1, Call())
    call.end()
    assert under_way.begin(1, Call())


def test_a_call_that_is_over_leaves_nothing_under_way() -> None:
    under_way = BytesUnderWay(100)
    for _ in range(3):
        assert under_way.begin(100, Call(is_over=True))
