"""The learner's client for actors, evaluators and launchers: weights, progress, evaluations."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

import grpc

from rrl_agents.checkpoints.params_codec import params_from_bytes
from rrl_agents.types import Params, Progress
from rrl_client import ClientSecurity
from rrl_client.security import make_channel
from services.learner.codec import (
    MAX_MESSAGE_BYTES,
    EvaluationReport,
    progress_from_proto,
    report_to_proto,
)
from services.learner.v1 import learner_pb2, learner_pb2_grpc
from services.shared.channels import channel_options, failure

_REFUSED = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION)


class Purpose(enum.IntEnum):
    """Which weights to fetch, to act or to evaluate; the numbers of the proto."""

    ACT = learner_pb2.WEIGHTS_PURPOSE_ACT
    EVALUATE = learner_pb2.WEIGHTS_PURPOSE_EVALUATE


class LearnerUnavailable(Exception):
    """The learner did not answer in time; it may be restarting or busy, so retry later."""


class LearnerRefused(LearnerUnavailable):
    """The learner rejects the caller's token; a retry fails until the tokens change."""


class EvaluationRefused(Exception):
    """The learner will never accept this evaluation; play the weights that are due now."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightUpdate:
    """One answer of the learner.

    Attributes:
        progress: Clocks and returns of the run.
        version: Version of the published weights, 0 if there are none.
        params: New weights. None if the caller has them already, none are published, or too many
            callers are fetching weights, in which case a retry gets them.
        final: Whether the evaluation of these weights ends the run (purpose EVALUATE).
        session: Name of the learner's session, which changes whenever the learner resumes.
    """

    progress: Progress
    version: int
    params: Params | None
    final: bool
    session: str = ""


class LearnerClient:
    """Client of one learner; reconnects by itself.

    Args:
        address: "host:port" of the learner.
        timeout_seconds: Longest wait for one answer.
        security: TLS and credentials; None for plaintext without a token.

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

    def fetch(self, known_version: int, purpose: Purpose) -> WeightUpdate:
        """Fetch the run's progress, and the newest weights unless they are `known_version`.

        Args:
            known_version: Version that the caller has, 0 for none.
            purpose: Whether to fetch weights to act with, or to evaluate.

        Raises:
            LearnerRefused: the learner rejects the token.
            LearnerUnavailable: no answer in time.
            ValueError: the server is not a learner, or the weights are malformed.
        """
        response: learner_pb2.GetWeightsResponse = self._call(
            self._stub.GetWeights,
            learner_pb2.GetWeightsRequest(
                known_version=known_version,
                purpose=int(purpose),  # type: ignore[arg-type]
            ),
        )
        return WeightUpdate(
            progress=progress_from_proto(response.progress),
            version=response.version,
            params=params_from_bytes(response.weights) if response.weights else None,
            final=response.final,
            session=response.session,
        )

    def progress(self) -> learner_pb2.GetProgressResponse:
        """Fetch clocks, targets, rates and losses.

        Raises:
            LearnerUnavailable: no answer in time.
            ValueError: the server is not a learner.
        """
        found: learner_pb2.GetProgressResponse = self._call(
            self._stub.GetProgress, learner_pb2.GetProgressRequest()
        )
        return found

    def report(self, report: EvaluationReport) -> Progress:
        """Report an evaluation.

        Returns:
            The run's progress after the report.

        Raises:
            EvaluationRefused: these weights are not due, or the numbers are invalid.
            LearnerUnavailable: no answer in time.
            ValueError: the server is not a learner, or has another version.
        """
        response = self._call(self._stub.ReportEvaluation, report_to_proto(report), *_REFUSED)
        return progress_from_proto(response.progress)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _call(self, method: Callable[..., Any], request: Any, *refusals: grpc.StatusCode) -> Any:
        try:
            return method(request, timeout=self._timeout_seconds)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise ValueError(
                    f"{self._peer}: this server is not a learner; check the address"
                ) from error
            if error.code() in refusals:
                raise EvaluationRefused(error.details()) from error
            raise failure(
                error, self._peer, unavailable=LearnerUnavailable, refused=LearnerRefused
            ) from error
