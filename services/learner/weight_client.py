"""Client face of the learner for actors and evaluators: weights, and progress with them."""

from __future__ import annotations

import dataclasses
import enum
from typing import cast

import grpc

from rrl_agents.checkpoints.params_codec import params_from_bytes
from rrl_agents.types import Params, Progress
from rrl_client import ClientSecurity
from rrl_client.security import make_channel
from services.learner.codec import MAX_MESSAGE_BYTES, progress_from_proto
from services.learner.v1 import learner_pb2, learner_pb2_grpc
from services.shared.channels import channel_options, failure


class Purpose(enum.IntEnum):
    """Which weights are wanted; numbers as on the wire."""

    ACT = learner_pb2.WEIGHTS_PURPOSE_ACT
    EVALUATE = learner_pb2.WEIGHTS_PURPOSE_EVALUATE


class LearnerUnavailable(Exception):
    """The learner did not answer in time; it may be restarting, or busy: retry later."""


class LearnerRefused(LearnerUnavailable):
    """The learner rejects the caller's token; it will until tokens change."""


def learner_failure(error: grpc.RpcError, peer: str) -> LearnerUnavailable:
    """The error of a failed call to the learner that `peer` names."""
    return failure(error, peer, unavailable=LearnerUnavailable, refused=LearnerRefused)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightUpdate:
    """One answer of the learner.

    Attributes:
        progress: Clocks and returns of the run.
        version: Version of the published weights, 0 when there are none.
        params: New weights; None when the caller has them already, none are published, or too many
            callers fetch theirs at once: retry.
        final: These weights end the run (purpose EVALUATE).
        session: Changes whenever the learner resumes from a checkpoint.
    """

    progress: Progress
    version: int
    params: Params | None
    final: bool
    session: str = ""


class WeightClient:
    """Fetches the weights of one learner; reconnects by itself.

    Args:
        address: Learner, "host:port".
        purpose: Which weights to ask for.
        timeout_seconds: Longest wait for one answer.
        security: What to trust and show; None for plaintext without a token.

    Raises:
        ValueError: a file of `security` cannot be used, or a token would travel unencrypted.
    """

    def __init__(
        self,
        address: str,
        purpose: Purpose,
        *,
        timeout_seconds: float = 10.0,
        security: ClientSecurity | None = None,
    ) -> None:
        self._channel = make_channel(address, security, channel_options(MAX_MESSAGE_BYTES))
        self._stub = learner_pb2_grpc.LearnerStub(self._channel)
        self._purpose = purpose
        self._timeout_seconds = timeout_seconds
        self._peer = f"learner at {address}"

    def fetch(self, known_version: int) -> WeightUpdate:
        """Newest weights unless they are `known_version`, and progress.

        Raises:
            LearnerRefused: it rejects the token.
            LearnerUnavailable: no answer in time.
            ValueError: the server is no learner, or the weights are malformed.
        """
        request = learner_pb2.GetWeightsRequest(
            known_version=known_version,
            purpose=cast("learner_pb2.WeightsPurpose.ValueType", int(self._purpose)),
        )
        try:
            response = self._stub.GetWeights(request, timeout=self._timeout_seconds)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                raise ValueError(f"{self._peer}: the server there is no learner") from error
            raise learner_failure(error, self._peer) from error
        return WeightUpdate(
            progress=progress_from_proto(response.progress),
            version=response.version,
            params=params_from_bytes(response.weights) if response.weights else None,
            final=response.final,
            session=response.session,
        )

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()
