"""The learner's side of the replay role's control: stand on my commit, and do you still?"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence

import grpc

from rrl_client.security import ClientSecurity, make_channel, refusal_advice
from services.replay.connection import ReplayTimeout
from services.replay.standing import Standing
from services.replay.v1 import replay_pb2, replay_pb2_grpc
from services.shared.errors import UserError

MAX_MESSAGE_BYTES = 2**16
"""Largest message of the control; it carries no items."""

_LOADING_SECONDS = 900.0
"""Longest load of tables: a million Atari items take a few minutes from a slow disk."""
_WRITING_SECONDS = 900.0
_POLL_SECONDS = 0.2
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "rrl.replay.v1.Replay"}],
            # Too many are asking at once: nothing was done yet, and it is soon over.
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2.0,
                "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
            },
        }
    ]
}
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A network that swallows packets says nothing: ask every few seconds whether it is there.
    ("grpc.keepalive_time_ms", 6000),
    ("grpc.keepalive_timeout_ms", 3000),
    # Else gRPC gives a question a minute.
    ("grpc.http2.ping_timeout_ms", 3000),
)


class ReplayRefused(ReplayTimeout):
    """Replay is there and does not let us in; until tokens change, it will not."""


class TablesUnusable(Exception):
    """A replay has no tables of a commit, or cannot load them."""


class NotWritten(Exception):
    """A replay could not write its tables down; what it kept before stays."""


class ControlClient:
    """Asks one replay role; reconnects by itself.

    Args:
        address: Its control, "host:port".
        security: What to trust and show; None for plaintext without a token.

    Raises:
        ValueError: a file of `security` cannot be used, or a token would travel unencrypted.
    """

    def __init__(self, address: str, security: ClientSecurity | None = None) -> None:
        self._address = address
        self._channel = make_channel(address, security, _OPTIONS)
        self._stub = replay_pb2_grpc.ReplayStub(self._channel)

    def standing(self, timeout_seconds: float) -> Standing:
        """What is served now.

        Raises:
            ReplayTimeout: no answer in time, or tables are being loaded.
            UserError: what listens there is no replay role.
        """
        try:
            answer = self._stub.GetStanding(
                replay_pb2.GetStandingRequest(), timeout=timeout_seconds
            )
        except grpc.RpcError as error:
            raise self._failure(error) from error
        return _from_proto(answer.standing)

    def restore(self, commit: int, stop: threading.Event, patience_seconds: float) -> Standing:
        """Have the tables of a commit served; waits for a role that is not there yet.

        Raises:
            ReplayTimeout: it did not come in time, or `stop` was set.
            TablesUnusable: the commit's tables cannot be had.
            UserError: what listens there is no replay role, or does not let us in.
        """
        end = time.monotonic() + patience_seconds
        while True:
            try:
                answer = self._stub.Restore(
                    replay_pb2.RestoreRequest(commit=commit), timeout=_LOADING_SECONDS
                )
                return _from_proto(answer.standing)
            except grpc.RpcError as error:
                failure = self._failure(error)
            if isinstance(failure, ReplayRefused):
                raise UserError(str(failure)) from failure
            waits = isinstance(failure, ReplayTimeout) and time.monotonic() < end
            if stop.is_set() or not waits:
                raise failure
            stop.wait(_POLL_SECONDS)

    def checkpoint(self, incarnation: str, commit: int, keep: Sequence[int]) -> int | None:
        """Have the tables written down as those of a commit.

        Args:
            incarnation: Of the tables that are meant.
            commit: The commit's number.
            keep: Numbers of the commits that may be gone back to, too.

        Returns:
            Bytes written; None where other tables are served by now.

        Raises:
            ReplayTimeout: no answer in time.
            NotWritten: no space, or no permission.
            UserError: what listens there is no replay role.
        """
        request = replay_pb2.CheckpointRequest(incarnation=incarnation, commit=commit, keep=keep)
        try:
            return int(self._stub.Checkpoint(request, timeout=_WRITING_SECONDS).bytes)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.ABORTED:
                return None
            if error.code() is grpc.StatusCode.INTERNAL:
                raise NotWritten(f"replay at {self._address}: {error.details()}") from error
            raise self._failure(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _failure(self, error: grpc.RpcError) -> Exception:
        code, details = error.code(), error.details()
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return UserError(f"what listens at {self._address} is no replay role")
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return ReplayRefused(
                f"replay at {self._address}: {details}; give --peers.token-file the token of its "
                "--token-file"
            )
        if code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION):
            return TablesUnusable(f"replay at {self._address}: {details}")
        advice = refusal_advice(str(details))
        return ReplayTimeout(
            f"replay at {self._address} did not answer: {code.name}, {details}"
            + (f"; {advice}" if advice is not None else "")
        )


def _from_proto(message: replay_pb2.Standing) -> Standing:
    return Standing(incarnation=message.incarnation, commit=message.commit)
