"""Machines that vanish: a client that answers no sign of life is let go of by every server."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from services.shared.keepalive import DEAD_PEER_SECONDS
from services.shared.threaded_server import Door, ServerLimits, ThreadedServer
from services.teacher.server import TeacherServer
from tests.services.test_teacher_service import PixelSums, make_server
from tests.support.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.slow

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
SLACK_SECONDS = 10.0


def headers(method: str) -> bytes:
    """A HEADERS frame that begins a call and leaves its message out; literals, no compression."""

    def literal(name: str, value: str) -> bytes:
        return bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()

    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": method,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    block = b"".join(literal(name, value) for name, value in fields.items())
    return len(block).to_bytes(3, "big") + bytes([1, 4, 0, 0, 0, 1]) + block


@pytest.fixture
def teacher() -> Iterator[str]:
    server: TeacherServer = make_server(PixelSums())
    server.start()
    server.wait_until_ready(PATIENCE_SECONDS)
    yield server.address
    server.stop(0.0)


@pytest.fixture
def threaded() -> Iterator[str]:
    limits = ServerLimits(
        workers=2,
        concurrent_calls=8,
        streams_per_connection=8,
        max_request_bytes=1000,
        max_response_bytes=1000,
    )
    server = ThreadedServer("the test", "rrl.Test", Door(host="127.0.0.1", port=0), limits)
    handler: Any = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    generic = grpc.method_handlers_generic_handler("rrl.Test", {"Call": handler})
    server.grpc.add_generic_rpc_handlers((generic,))
    port = server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0.0)


@pytest.mark.parametrize(
    ("server", "method"),
    [("teacher", "/rrl.teacher.v1.Teacher/EvaluateStream"), ("threaded", "/rrl.Test/Call")],
)
def test_who_answers_no_sign_of_life_is_let_go_of(
    request: pytest.FixtureRequest, server: str, method: str
) -> None:
    host, _, port = request.getfixturevalue(server).rpartition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(PREFACE + SETTINGS + headers(method))
        connection.settimeout(DEAD_PEER_SECONDS + SLACK_SECONDS)
        began = time.monotonic()
        # What the server asks is read, and never answered.
        while connection.recv(4096):
            assert time.monotonic() - began < DEAD_PEER_SECONDS + SLACK_SECONDS
