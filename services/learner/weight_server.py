"""The learner's gRPC service: sends weights and progress, receives evaluations.

    actor, evaluator ─ GetWeights ───▶ PublishedWeights            INVALID_ARGUMENT
    launcher ───────── GetProgress ──▶ Learner.report_progress
    evaluator ── ReportEvaluation ───▶ Learner.take_evaluation
                                       INVALID_ARGUMENT, FAILED_PRECONDITION

The handlers never use the training state. If a thousand actors fetch weights at once, each answer
is a copy in memory; beyond a limit, actors get only the progress, and the weights when they retry.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc
import grpc.aio

from services.learner.codec import (
    MAX_MESSAGE_BYTES,
    progress_to_proto,
    report_from_proto,
)
from services.learner.pending_evaluations import UnknownWeights
from services.learner.served_run import ServedRun
from services.learner.v1 import learner_pb2, learner_pb2_grpc
from services.shared.call_limits import ServerLimits
from services.shared.grpc_server import GrpcServer, ListenAddress, Workers
from services.shared.security.server import SecurityConfig

SERVICE_NAME = learner_pb2.DESCRIPTOR.services_by_name["Learner"].full_name

_LIMITS = ServerLimits(
    # A thousand actors may call at once; most of their requests, which are small, wait in a queue.
    calls=2048,
    calls_per_connection=64,
    # The largest request, an evaluation of `codec.MAX_EPISODES` episodes, takes 1.3 MB.
    max_request_bytes=4 * 2**20,
    max_response_bytes=MAX_MESSAGE_BYTES,
)

_THREADS = 4
_LONGEST_CALL_SECONDS = 300

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class BytesUnderWay:
    """Limits the memory of answers that are being sent; use it in one event loop only.

    gRPC keeps an answer in memory until a receiver, however slow, has read it, and has no limit for
    the sum of all answers.

    Args:
        max_bytes: Limit of the sum of all answers; a single answer may exceed it.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0

    def begin(self, size: int, call: _Context) -> bool:
        """Whether a call may send this many bytes now; if so, they count until the call ends."""
        if self._bytes and self._bytes + size > self._max_bytes:
            return False
        self._bytes += size
        call.add_done_callback(lambda _: self._end(size))  # type: ignore[arg-type]
        return True

    def _end(self, size: int) -> None:
        self._bytes -= size


class _Servicer(learner_pb2_grpc.LearnerServicer):
    def __init__(self, run: ServedRun, workers: Workers, under_way: BytesUnderWay) -> None:
        self._run = run
        self._workers = workers
        self._under_way = under_way

    async def GetWeights(
        self, request: learner_pb2.GetWeightsRequest, context: _Context
    ) -> learner_pb2.GetWeightsResponse:
        evaluate = request.purpose == learner_pb2.WEIGHTS_PURPOSE_EVALUATE
        offer = self._run.evaluation if evaluate else self._run.acting
        left = context.time_remaining()
        if left is None or left > _LONGEST_CALL_SECONDS:
            # A caller that never reads its answer would occupy that memory forever.
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"give the call a deadline of at most {_LONGEST_CALL_SECONDS} s",
            )
        snapshot, weights = await self._workers.run(lambda: offer.newer_than(request.known_version))
        if weights and not self._under_way.begin(len(weights), context):
            weights = b""
        if weights and snapshot is not None:
            offer.last_sent = snapshot.version
        return learner_pb2.GetWeightsResponse(
            progress=progress_to_proto(self._run.progress),
            weights=weights,
            version=snapshot.version if snapshot is not None else 0,
            final=snapshot.final if snapshot is not None else False,
            session=self._run.session,
        )

    async def GetProgress(
        self, request: learner_pb2.GetProgressRequest, context: _Context
    ) -> learner_pb2.GetProgressResponse:
        return await self._workers.run(self._run.report_progress)

    async def ReportEvaluation(
        self, request: learner_pb2.ReportEvaluationRequest, context: _Context
    ) -> learner_pb2.ReportEvaluationResponse:
        try:
            report = report_from_proto(request)
            progress = await self._workers.run(lambda: self._run.take_evaluation(report))
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except UnknownWeights as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return learner_pb2.ReportEvaluationResponse(progress=progress_to_proto(progress))


def weight_server(
    run: ServedRun,
    *,
    host: str,
    port: int,
    security: SecurityConfig = SecurityConfig(),  # noqa: B008 - frozen
    max_bytes_under_way: int = 256 * 2**20,
) -> GrpcServer:
    """The gRPC server of one run; `start` starts it.

    Args:
        run: The run to serve.
        host: Address to listen on.
        port: TCP port; 0 picks a free one.
        security: TLS and tokens.
        max_bytes_under_way: Limit of the weights that are being sent, over all calls, in bytes; 256
            MiB are 39 copies of the Nature network's weights.

    Raises:
        UserError: tokens would travel unencrypted over a network, or a credential is unusable.
    """
    under_way = BytesUnderWay(max_bytes_under_way)

    def add(server: grpc.aio.Server, workers: Workers) -> None:
        servicer = _Servicer(run, workers, under_way)
        learner_pb2_grpc.add_LearnerServicer_to_server(servicer, server)

    listen = ListenAddress(host=host, port=port, security=security)
    return GrpcServer("the learner", SERVICE_NAME, listen, _LIMITS, add, threads=_THREADS)
