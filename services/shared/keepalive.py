"""Signs of life that our gRPC servers ask of their clients.

A machine that vanishes says nothing, and gRPC by itself looks after two hours. Until then its
streams and what they hold would stay.
"""

from __future__ import annotations

DEAD_PEER_SECONDS = 20
"""How long a client may be silent before its connection is closed."""

SERVER_KEEPALIVE: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 500 * DEAD_PEER_SECONDS),
    ("grpc.keepalive_timeout_ms", 500 * DEAD_PEER_SECONDS),
    # Else gRPC gives a question a minute.
    ("grpc.http2.ping_timeout_ms", 500 * DEAD_PEER_SECONDS),
)
"""Channel arguments of a server: a question after half of that time, the answer within the rest."""
