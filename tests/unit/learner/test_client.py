"""What a caller of the learner gets where the learner does not answer as one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from services.learner.client import (
    EvaluationRefused,
    LearnerClient,
    LearnerRefused,
    LearnerUnavailable,
    Purpose,
)
from services.learner.codec import EvaluationReport
from services.learner.v1 import learner_pb2_grpc

REPORT = EvaluationReport(
    weights_version=1, episode_returns=(1.0,), episode_steps=(10,), epsilon=0.0
)
CALLS: dict[str, Callable[[LearnerClient], object]] = {
    "fetch": lambda client: client.fetch(0, Purpose.ACT),
    "progress": lambda client: client.progress(),
    "report": lambda client: client.report(REPORT),
}


class Failing(learner_pb2_grpc.LearnerServicer):
    """Answers every call with one status."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def GetWeights(self, request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(self._code, "not now")

    GetProgress = ReportEvaluation = GetWeights


@contextlib.contextmanager
def failing(code: grpc.StatusCode) -> Iterator[LearnerClient]:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    learner_pb2_grpc.add_LearnerServicer_to_server(Failing(code), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with contextlib.closing(LearnerClient(f"127.0.0.1:{port}")) as client:
            yield client
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ["INVALID_ARGUMENT", "FAILED_PRECONDITION"])
def test_an_evaluation_alone_is_refused_and_other_calls_may_succeed_later(
    name: str, call: str
) -> None:
    expected = EvaluationRefused if call == "report" else LearnerUnavailable
    with failing(grpc.StatusCode[name]) as client, pytest.raises(expected, match="not now"):
        CALLS[call](client)


@pytest.mark.parametrize("call", CALLS)
def test_whoever_is_no_learner_or_wants_a_token_is_told_apart(call: str) -> None:
    no_learner = pytest.raises(ValueError, match="this server is not a learner; check the address")
    with failing(grpc.StatusCode.UNIMPLEMENTED) as client, no_learner:
        CALLS[call](client)
    with failing(grpc.StatusCode.UNAUTHENTICATED) as client, pytest.raises(LearnerRefused):
        CALLS[call](client)
