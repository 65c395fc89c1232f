"""Client face of the learner for actors and evaluators: weights, and progress with them."""

from __future__ import annotations

import dataclasses
import enum
from typing import cast

import grpc

from protos.rrl.learner.v1 import learner_pb2, learner_pb2_grpc
from rrl_agents.checkpoints.params_codec import params_from_bytes
from rrl_agents.types import Params, Progress
from services.learner.codec import CHANNEL_OPTIONS, progress_from_proto


class Purpose(enum.IntEnum):
    """Which weights are wanted; numbers as on the wire."""

    ACT = learner_pb2.WEIGHTS_PURPOSE_ACT
    EVALUATE = learner_pb2.WEIGHTS_PURPOSE_EVALUATE


class LearnerUnavailable(Exception):
    """The learner did not answer in time; it may be restarting: try again later."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightUpdate:
    """One answer of the learner.

    Attributes:
        progress: Where the run stands.
        version: Version of the weights offered, 0 when none are.
        params: New weights; None when the caller has them already or none are offered.
        final: These weights end the run (purpose EVALUATE).
    """

    progress: Progress
    version: int
    params: Params | None
    final: bool


class WeightClient:
    """Asks one learner for weights; reconnects by itself.

    Args:
        address: Learner, "host:port".
        purpose: Which weights to ask for.
        timeout_seconds: Longest wait for one answer.
    """

    def __init__(self, address: str, purpose: Purpose, *, timeout_seconds: float = 10.0) -> None:
        self._channel = grpc.insecure_channel(address, options=list(CHANNEL_OPTIONS))
        self._stub = learner_pb2_grpc.LearnerStub(self._channel)
        self._purpose = purpose
        self._timeout_seconds = timeout_seconds
        self._address = address

    def fetch(self, known_version: int) -> WeightUpdate:
        """Newest weights unless they are `known_version`, and progress.

        Raises:
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
            raise LearnerUnavailable(
                f"learner at {self._address} did not answer: {error.code().name}"
            ) from error
        return WeightUpdate(
            progress=progress_from_proto(response.progress),
            version=response.version,
            params=params_from_bytes(response.weights) if response.weights else None,
            final=response.final,
        )

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()
