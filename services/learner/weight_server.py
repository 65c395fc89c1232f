"""The learner's gRPC face: weights and progress out, evaluations in.

    actor, evaluator ─ GetWeights ───▶ Offer (weight_store)
    launcher ───────── GetProgress ──▶ Learner.report_progress
    evaluator ── ReportEvaluation ───▶ Learner.take_evaluation
                                       INVALID_ARGUMENT, FAILED_PRECONDITION

The handlers hold no state of their own and never touch the training state.
"""

from __future__ import annotations

from concurrent import futures
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
from services.shared.addresses import format_address
from services.shared.errors import UserError
from services.shared.health import SyncHealth

SERVICE_NAME = learner_pb2.DESCRIPTOR.services_by_name["Learner"].full_name

_MAX_REQUEST_BYTES = 4 * 2**20
"""Requests are small: the largest, an evaluation of `codec.MAX_EPISODES` episodes, has 1.3 MB."""


class RunView(Protocol):
    """What the server shows of a run."""

    acting: Offer
    evaluation: Offer

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


class _Servicer(learner_pb2_grpc.LearnerServicer):
    def __init__(self, run: RunView) -> None:
        self._run = run

    def GetWeights(
        self, request: learner_pb2.GetWeightsRequest, context: grpc.ServicerContext
    ) -> learner_pb2.GetWeightsResponse:
        evaluate = request.purpose == learner_pb2.WEIGHTS_PURPOSE_EVALUATE
        offer = self._run.evaluation if evaluate else self._run.acting
        snapshot, weights = offer.weights_unless(request.known_version)
        return learner_pb2.GetWeightsResponse(
            progress=progress_to_proto(self._run.progress),
            weights=weights,
            version=snapshot.version if snapshot is not None else 0,
            final=snapshot.final if snapshot is not None else False,
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
    """

    def __init__(self, run: RunView, *, host: str, port: int) -> None:
        self._server = grpc.server(
            futures.ThreadPoolExecutor(max_workers=16, thread_name_prefix="learner-grpc"),
            options=[
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_receive_message_length", _MAX_REQUEST_BYTES),
                # Two servers must not share a port silently.
                ("grpc.so_reuseport", 0),
            ],
        )
        learner_pb2_grpc.add_LearnerServicer_to_server(_Servicer(run), self._server)
        self._health = SyncHealth(self._server, [SERVICE_NAME])
        self._address = format_address(host, port)

    def start(self) -> int:
        """Listen.

        Returns:
            The bound port.

        Raises:
            UserError: the port is taken.
        """
        try:
            port = self._server.add_insecure_port(self._address)
        except RuntimeError as error:
            raise UserError(
                f"the learner cannot listen on {self._address}: the port is in use; "
                "stop what holds it or choose another with --port"
            ) from error
        self._server.start()
        self._health.set_serving(True)
        return int(port)

    def stop(self, grace_seconds: float = 2.0) -> None:
        """Let running calls finish, then stop."""
        self._health.set_serving(False)
        self._server.stop(grace_seconds).wait()
