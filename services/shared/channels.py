"""Channel options and errors that clients of our gRPC services share.

The teacher's client, `rrl_client`, has its own: it imports nothing of ours.
"""

from __future__ import annotations

from typing import TypeVar

import grpc

from rrl_client.security import refusal_advice

_MAX_DETAILS = 300
"""Characters shown of a server's message."""

Unavailable = TypeVar("Unavailable", bound=Exception)


def channel_options(max_message_bytes: int) -> tuple[tuple[str, int], ...]:
    """Options of a channel whose calls take about ten seconds.

    Args:
        max_message_bytes: Largest message in either direction.
    """
    return (
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),
        # By default gRPC waits up to two minutes between attempts to connect; a server restarts
        # sooner.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1000),
        ("grpc.max_reconnect_backoff_ms", 2000),
        # A network that drops packets gives no error: a ping detects it within a call's ten
        # seconds, and the next call uses a new connection.
        ("grpc.keepalive_time_ms", 6000),
        ("grpc.keepalive_timeout_ms", 3000),
        # By default, gRPC gives a ping one minute.
        ("grpc.http2.ping_timeout_ms", 3000),
    )


def failure(
    error: grpc.RpcError,
    peer: str,
    *,
    unavailable: type[Unavailable],
    refused: type[Unavailable],
) -> Unavailable:
    """The error of a failed call.

    Args:
        error: The failed call's error.
        peer: Its server, as "learner at host:port".
        unavailable: Raised if a later call may succeed.
        refused: Raised if the server rejects the caller's token.
    """
    details = str(error.details() or "no details")[:_MAX_DETAILS]
    if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return refused(f"{peer}: {details}; give --peers.token-file the token of its --token-file")
    advice = refusal_advice(str(error.details()))
    return unavailable(
        f"{peer} did not answer: {error.code().name}, {details}"
        + (f"; {advice}" if advice is not None else "")
    )
