"""Client face of the learner for actors and evaluators: weights, and progress with them."""

from __future__ import annotations

import dataclasses
import enum
from typing import cast

import grpc

from rrl_agents.checkpoints.params_codec import params_from_bytes
from rrl_agents.types import Params, Progress
from rrl_client import ClientSecurity
from rrl_client.security import make_channel, refusal_advice
from services.learner.codec import CHANNEL_OPTIONS, progress_from_proto
from services.learner.v1 import learner_pb2, learner_pb2_grpc

_MAX_DETAILS = 300
"""Characters shown of what the other side says."""


class Purpose(enum.IntEnum):
    """Which weights are wanted; numbers as on the wire."""

    ACT = learner_pb2.WEIGHTS_PURPOSE_ACT
    EVALUATE = learner_pb2.WEIGHTS_PURPOSE_EVALUATE


class LearnerUnavailable(Exception):
    """The learner did not answer in time; it may be restarting, or busy: try again later."""


class LearnerRefused(LearnerUnavailable):
    """The learner is there and does not let us in; until tokens change, it will not."""


def failure(error: grpc.RpcError, address: str) -> LearnerUnavailable:
    """What a failed call means to a client that was let in before.

    Args:
        error: Of the call.
        address: Whom was asked.
    """
    details = str(error.details() or "no details")[:_MAX_DETAILS]
    if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return LearnerRefused(
            f"learner at {address}: {details}; give --peers.token-file the token of the learner's "
            "--token-file"
        )
    advice = refusal_advice(str(error.details()))
    return LearnerUnavailable(
        f"learner at {address} did not answer: {error.code().name}, {details}"
        + (f"; {advice}" if advice is not None else "")
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightUpdate:
    """One answer of the learner.

    Attributes:
        progress: Where the run stands.
        version: Version of the weights offered, 0 when none are.
        params: New weights; None when the caller has them already, none are offered, or too many
            are fetching theirs: ask again.
        final: These weights end the run (purpose EVALUATE).
        session: Changes whenever the learner goes on from a checkpoint.
    """

    progress: Progress
    version: int
    params: Params | None
    final: bool
    session: str = ""


class WeightClient:
    """Asks one learner for weights; reconnects by itself.

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
        self._channel = make_channel(address, security, CHANNEL_OPTIONS)
        self._stub = learner_pb2_grpc.LearnerStub(self._channel)
        self._purpose = purpose
        self._timeout_seconds = timeout_seconds
        self._address = address

    def fetch(self, known_version: int) -> WeightUpdate:
        """Newest weights unless they are `known_version`, and progress.

        Raises:
            LearnerRefused: it does not let us in.
            LearnerUnavailable: no answer in time.
            ValueError: no learner answers there, or the weights are malformed.
        """
        request = learner_pb2.GetWeightsRequest(
            known_version=known_version,
            purpose=cast("learner_pb2.WeightsPurpose.ValueType", int(self._purpose)),
        )
        try:
            response = self._stub.GetWeights(request, timeout=self._timeout_seconds)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                raise ValueError(f"what listens at {self._address} is no learner") from error
            raise failure(error, self._address) from error
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
