"""Weights for more actors than can be served at once, and for one that does not take its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import grpc
import numpy as np
import pytest

from rrl_agents.types import Params, Progress
from services.learner.client import LearnerClient, Purpose
from services.learner.codec import EvaluationReport, progress_to_proto
from services.learner.published_weights import PublishedWeights, Snapshot
from services.learner.v1 import learner_pb2, learner_pb2_grpc
from services.learner.weight_server import BytesUnderWay, weight_server
from tests.support.http2 import Http2Caller, prefix
from tests.support.patience import PATIENCE_SECONDS

MEGABYTE = 10**6


class Run:
    """A run with weights of one megabyte."""

    session = "first"
    progress = Progress(random_return=-1.0)

    def __init__(self) -> None:
        self.acting = PublishedWeights()
        self.evaluation = PublishedWeights()
        params: Params = {"params": {"kernel": np.zeros(MEGABYTE // 4, np.float32)}}
        self.acting.publish(Snapshot(version=7, params=params, progress=self.progress))

    def report_progress(self) -> learner_pb2.GetProgressResponse:
        return learner_pb2.GetProgressResponse(progress=progress_to_proto(self.progress))

    def take_evaluation(self, report: EvaluationReport) -> Progress:
        return self.progress


@contextlib.contextmanager
def serving(max_bytes_under_way: int) -> Iterator[int]:
    server = weight_server(Run(), host="127.0.0.1", port=0, max_bytes_under_way=max_bytes_under_way)
    port = server.start()
    try:
        yield port
    finally:
        server.stop(0.0)


GET_WEIGHTS = "/rrl.learner.v1.Learner/GetWeights"


def ask(caller: Http2Caller) -> int:
    """Ask for weights, of which nothing is known; returns the call."""
    call = caller.begin(GET_WEIGHTS, [("grpc-timeout", "60S")])
    caller.send(call, prefix(0), end=True)
    return call


def test_weights_that_nobody_takes_are_bounded_and_others_still_hear_of_progress() -> None:
    with (
        # One answer of a megabyte and a little has room, another beside it has not.
        serving(max_bytes_under_way=2 * MEGABYTE) as port,
        contextlib.closing(LearnerClient(f"127.0.0.1:{port}")) as actor,
        # One that allows not a byte of an answer to be sent.
        contextlib.closing(Http2Caller(f"127.0.0.1:{port}", window=0)) as sluggard,
    ):
        call = ask(sluggard)
        while call not in sluggard.answered:
            sluggard.listen(0.1)
        for _ in range(3):
            update = actor.fetch(0, Purpose.ACT)
            assert update.params is None
            assert (update.version, update.progress.random_return) == (7, -1.0)
        sluggard.close()
        end = time.monotonic() + PATIENCE_SECONDS
        while actor.fetch(0, Purpose.ACT).params is None:
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
    """A call whose end somebody wants to know."""

    def __init__(self) -> None:
        self._at_end: list[Callable[[object], None]] = []

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        self._at_end.append(callback)

    def end(self) -> None:
        for callback in self._at_end:
            callback(self)


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


def test_calls_that_are_given_up_at_once_leave_nothing_under_way() -> None:
    with (
        serving(max_bytes_under_way=2 * MEGABYTE) as port,
        contextlib.closing(LearnerClient(f"127.0.0.1:{port}")) as actor,
    ):
        for _ in range(30):
            caller = Http2Caller(f"127.0.0.1:{port}", window=0)
            ask(caller)
            caller.close()
        end = time.monotonic() + PATIENCE_SECONDS
        while actor.fetch(0, Purpose.ACT).params is None:
            assert time.monotonic() < end, "the room is not given back"
            time.sleep(0.01)
