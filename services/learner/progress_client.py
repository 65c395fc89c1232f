"""The learner's client for evaluators and for displays of a run's progress."""

from __future__ import annotations

import grpc

from rrl_agents.types import Progress
from rrl_client import ClientSecurity
from rrl_client.security import make_channel
from services.learner.codec import (
    MAX_MESSAGE_BYTES,
    EvaluationReport,
    progress_from_proto,
    report_to_proto,
)
from services.learner.v1 import learner_pb2, learner_pb2_grpc
from services.learner.weight_client import learner_failure
from services.shared.channels import channel_options


class EvaluationRefused(Exception):
    """The learner rejects this evaluation for good: play the weights that are due now."""


class ProgressClient:
    """Reads a learner's progress and reports evaluations to it.

    Args:
        address: Learner, "host:port".
        timeout_seconds: Longest wait for one answer.
        security: What to trust and show; None for plaintext without a token.

    Raises:
        ValueError: a file of `security` cannot be used, or a token would travel unencrypted.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_seconds: float = 10.0,
        security: ClientSecurity | None = None,
    ) -> None:
        self._channel = make_channel(address, security, channel_options(MAX_MESSAGE_BYTES))
        self._stub = learner_pb2_grpc.LearnerStub(self._channel)
        self._timeout_seconds = timeout_seconds
        self._peer = f"learner at {address}"

    def progress(self) -> learner_pb2.GetProgressResponse:
        """Clocks, targets, rates and losses.

        Raises:
            LearnerUnavailable: no answer in time.
        """
        try:
            return self._stub.GetProgress(
                learner_pb2.GetProgressRequest(), timeout=self._timeout_seconds
            )
        except grpc.RpcError as error:
            raise learner_failure(error, self._peer) from error

    def report(self, report: EvaluationReport) -> Progress:
        """Report an evaluation.

        Returns:
            Progress after it.

        Raises:
            EvaluationRefused: these weights are not due, or the numbers are invalid.
            LearnerUnavailable: no answer in time.
        """
        try:
            response = self._stub.ReportEvaluation(
                report_to_proto(report), timeout=self._timeout_seconds
            )
        except grpc.RpcError as error:
            refused = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION)
            if error.code() in refused:
                raise EvaluationRefused(error.details()) from error
            raise learner_failure(error, self._peer) from error
        return progress_from_proto(response.progress)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()
