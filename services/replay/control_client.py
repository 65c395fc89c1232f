"""The learner's client of the replay role's control service: status, restore and save."""

from __future__ import annotations

import json
from collections.abc import Sequence

import grpc

from rrl_client.security import ClientSecurity, make_channel
from services.replay.failures import ReplayTimeout, SaveFailed, TablesUnusable
from services.replay.v1 import replay_pb2, replay_pb2_grpc
from services.shared.channels import channel_options, failure
from services.shared.errors import UserError

MAX_MESSAGE_BYTES = 2**16
"""Largest message of the control service, which carries no items."""

_LOADING_SECONDS = 900.0
"""Timeout for loading tables: a million Atari items take a few minutes from a slow disk."""
_WRITING_SECONDS = 900.0
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "rrl.replay.v1.Replay"}],
            # Too many calls at once: the server has not started this one, and will have room soon.
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


class ReplayRefused(ReplayTimeout):
    """Replay rejects the caller's token; a retry fails until the tokens change."""


class ControlClient:
    """Client of one replay role; reconnects by itself.

    Args:
        address: "host:port" of its control service.
        security: TLS and credentials; None for plaintext without a token.

    Raises:
        ValueError: a file of `security` cannot be used, or a token would travel unencrypted.
    """

    def __init__(self, address: str, security: ClientSecurity | None = None) -> None:
        self._peer = f"replay at {address}"
        options = (
            *channel_options(MAX_MESSAGE_BYTES),
            ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        )
        self._channel = make_channel(address, security, options)
        self._stub = replay_pb2_grpc.ReplayStub(self._channel)

    def status(self, timeout_seconds: float) -> replay_pb2.ServedTables:
        """Which tables the server has now.

        Raises:
            ReplayTimeout: no answer in time, or tables are being loaded.
            UserError: the server is not a replay role.
        """
        request = replay_pb2.GetStatusRequest()
        try:
            return self._stub.GetStatus(request, timeout=timeout_seconds).served
        except grpc.RpcError as error:
            raise self._failure(error) from error

    def restore(self, checkpoint: int) -> replay_pb2.ServedTables:
        """Have the server load the tables of a checkpoint and serve them.

        Raises:
            ReplayTimeout: no answer in time.
            TablesUnusable: the shard has no such tables, or cannot load them.
            UserError: the server is not a replay role, or rejects the token.
        """
        request = replay_pb2.RestoreRequest(checkpoint=checkpoint)
        try:
            return self._stub.Restore(request, timeout=_LOADING_SECONDS).served
        except grpc.RpcError as error:
            failed = self._failure(error)
            raise UserError(str(failed)) if isinstance(failed, ReplayRefused) else failed from error

    def save(self, generation: str, checkpoint: int, keep: Sequence[int]) -> int | None:
        """Have the server save its tables under the number of a checkpoint.

        Args:
            generation: `ServedTables.generation` of the tables that the caller learned from.
            checkpoint: Number of the new checkpoint.
            keep: Numbers of the other checkpoints to keep.

        Returns:
            Bytes written; None if the server has other tables now.

        Raises:
            ReplayTimeout: no answer in time.
            SaveFailed: no space, or no permission.
            UserError: the server is not a replay role.
        """
        request = replay_pb2.SaveRequest(generation=generation, checkpoint=checkpoint, keep=keep)
        try:
            return int(self._stub.Save(request, timeout=_WRITING_SECONDS).bytes)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.ABORTED:
                return None
            if error.code() is grpc.StatusCode.INTERNAL:
                raise SaveFailed(f"{self._peer}: {error.details()}") from error
            raise self._failure(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _failure(self, error: grpc.RpcError) -> Exception:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return UserError(
                f"{self._peer}: this server is not the control service of `rrl replay`; check "
                "--replay-control-address"
            )
        if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION):
            return TablesUnusable(f"{self._peer}: {error.details()}")
        return failure(error, self._peer, unavailable=ReplayTimeout, refused=ReplayRefused)
