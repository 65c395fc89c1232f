"""The learner's gRPC face: weights and progress out, evaluations in.

    actor, evaluator ─ GetWeights ───▶ Offer (weight_store)        INVALID_ARGUMENT
    launcher ───────── GetProgress ──▶ Learner.report_progress
    evaluator ── ReportEvaluation ───▶ Learner.take_evaluation
                                       INVALID_ARGUMENT, FAILED_PRECONDITION

The handlers never touch the training state. A thousand actors that want weights at once would have
a copy each under way: beyond a bound they get progress alone, and the weights when they ask again.
"""

from __future__ import annotations

import threading
from typing import Protocol

import grpc

from protos.rrl.learner.v1 import learner_pb2, learner_pb2_grpc
from rrl_agents.types import Progress
from services.learner.codec import (
    MAX_MESSAGE_BYTES,
    EvaluationReport,
    progress_to_proto,
    report_from_proto,
)
from services.learner.evaluation_desk import UnknownWeights
from services.learner.weight_store import Offer
from services.shared.security.server import SecurityConfig
from services.shared.threaded_server import Door, ServerLimits, ThreadedServer

SERVICE_NAME = learner_pb2.DESCRIPTOR.services_by_name["Learner"].full_name

_LIMITS = ServerLimits(
    workers=16,
    # A thousand actors may ask in one moment; all but a few wait their turn, a small request each.
    concurrent_calls=2048,
    streams_per_connection=64,
    # The largest request, an evaluation of `codec.MAX_EPISODES` episodes, has 1.3 MB.
    max_request_bytes=4 * 2**20,
    max_response_bytes=MAX_MESSAGE_BYTES,
)

_LONGEST_CALL_SECONDS = 300


class RunView(Protocol):
    """What the server shows of a run."""

    acting: Offer
    evaluation: Offer
    session: str

    @property
    def progress(self) -> Progress:
        """Where the run stands."""

    def report_progress(self) -> learner_pb2.GetProgressResponse:
        """Progress with targets, rates and losses."""

    def take_evaluation(self, report: EvaluationReport) -> Progress:
        """Take an evaluation in.

        Raises:
            UnknownWeights: it speaks of weights that are not on offer.
        """


class BytesUnderWay:
    """Keeps the memory of answers that are being sent bounded; for any thread.

    gRPC holds an answer until its receiver has taken it, however slow that is, and counts it under
    none of its own limits.

    Args:
        max_bytes: Bound on all of them together; one alone may be larger.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._bytes = 0

    def begin(self, size: int, call: grpc.RpcContext) -> bool:
        """Whether a call may send that many bytes now; they count until it is over."""
        with self._lock:
            if self._bytes and self._bytes + size > self._max_bytes:
                return False
            self._bytes += size
        if not call.add_callback(lambda: self._end(size)):
            self._end(size)  # It is over already.
        return True

    def _end(self, size: int) -> None:
        with self._lock:
            self._bytes -= size


class _Servicer(learner_pb2_grpc.LearnerServicer):
    def __init__(self, run: RunView, under_way: BytesUnderWay) -> None:
        self._run = run
        self._under_way = under_way

    def GetWeights(
        self, request: learner_pb2.GetWeightsRequest, context: grpc.ServicerContext
    ) -> learner_pb2.GetWeightsResponse:
        evaluate = request.purpose == learner_pb2.WEIGHTS_PURPOSE_EVALUATE
        offer = self._run.evaluation if evaluate else self._run.acting
        left = context.time_remaining()
        if left is None or left > _LONGEST_CALL_SECONDS:
            # Whoever takes no answer would keep its room from the others for ever.
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"give the call a deadline of at most {_LONGEST_CALL_SECONDS} s",
            )
        snapshot, weights = offer.weights_unless(request.known_version)
        if weights and not self._under_way.begin(len(weights), context):
            weights = b""
        return learner_pb2.GetWeightsResponse(
            progress=progress_to_proto(self._run.progress),
            weights=weights,
            version=snapshot.version if snapshot is not None else 0,
            final=snapshot.final if snapshot is not None else False,
            session=self._run.session,
        )

    def GetProgress(
        self, request: learner_pb2.GetProgressRequest, context: grpc.ServicerContext
    ) -> learner_pb2.GetProgressResponse:
        return self._run.report_progress()

    def ReportEvaluation(
        self, request: learner_pb2.ReportEvaluationRequest, context: grpc.ServicerContext
    ) -> learner_pb2.ReportEvaluationResponse:
        try:
            progress = self._run.take_evaluation(report_from_proto(request))
        except ValueError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except UnknownWeights as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return learner_pb2.ReportEvaluationResponse(progress=progress_to_proto(progress))


class WeightServer:
    """Serves one run on one port.

    Args:
        run: What to show.
        host: Interface to listen on.
        port: 0 picks a free one.
        security: Encryption and tokens.
        max_bytes_under_way: Bound on weights that are being sent, over all calls; 256 MiB are 39
            copies of the Nature network's.

    Raises:
        UserError: tokens would travel unencrypted over a network, or a credential is unusable.
    """

    def __init__(
        self,
        run: RunView,
        *,
        host: str,
        port: int,
        security: SecurityConfig = SecurityConfig(),  # noqa: B008 - frozen
        max_bytes_under_way: int = 256 * 2**20,
    ) -> None:
        door = Door(host=host, port=port, security=security)
        self._server = ThreadedServer("the learner", SERVICE_NAME, door, _LIMITS)
        servicer = _Servicer(run, BytesUnderWay(max_bytes_under_way))
        learner_pb2_grpc.add_LearnerServicer_to_server(servicer, self._server.grpc)

    def start(self) -> int:
        """Listen.

        Returns:
            The bound port.

        Raises:
            UserError: the port is taken.
        """
        return self._server.start()

    def stop(self, grace_seconds: float = 2.0) -> None:
        """Let running calls finish, then stop."""
        self._server.stop(grace_seconds)
