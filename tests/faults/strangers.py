"""What strangers do to the servers of a system: calls half sent, and bytes that mean nothing."""

from __future__ import annotations

import contextlib
import random
import socket

from rrl_client.v1 import teacher_pb2
from services.learner.v1 import learner_pb2
from services.replay.v1 import replay_pb2
from tests.faults.ports import LOOPBACK
from tests.faults.system import LEARNER, REPLAY, TEACHER, Ports
from tests.support.http2 import Http2Caller

CHECK, WATCH = (f"/grpc.health.v1.Health/{name}" for name in ("Check", "Watch"))
METHODS = {
    role: tuple(f"/{service.full_name}/{method.name}" for method in service.methods)
    for role, service in (
        (TEACHER, teacher_pb2.DESCRIPTOR.services_by_name["Teacher"]),
        (REPLAY, replay_pb2.DESCRIPTOR.services_by_name["Replay"]),
        (LEARNER, learner_pb2.DESCRIPTOR.services_by_name["Learner"]),
    )
}
"""Of each server."""

CONNECTIONS = 30

_MOST_CALLS = 50
_MOST_BYTES = 2**16
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def address(ports: Ports, role: str) -> str:
    """Where a server's own gRPC listens, past the links."""
    port = {TEACHER: ports.teacher, REPLAY: ports.control, LEARNER: ports.learner}[role]
    return f"{LOOPBACK}:{port}"


def half_send(caller: Http2Caller, method: str, begun: bytes) -> None:
    """Begin as many calls as the server allows at once, and go no further than some bytes."""
    caller.listen(0.05)
    for _ in range(min(_MOST_CALLS, caller.most_calls)):
        caller.send(caller.begin(method), begun)


def send_garbage(to: str, order: random.Random) -> socket.socket:
    """Send bytes that mean nothing, perhaps behind HTTP/2's greeting; the connection stays open."""
    host, _, port = to.rpartition(":")
    connection = socket.create_connection((host, int(port)))
    connection.settimeout(1.0)
    content = order.randbytes(order.randrange(1, _MOST_BYTES))
    with contextlib.suppress(OSError):
        connection.sendall((_GREETING if order.random() < 0.7 else b"") + content)
    return connection
