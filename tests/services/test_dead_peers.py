"""Machines that vanish: a client that answers no sign of life is let go of by every server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from services.shared.call_limits import ServerLimits
from services.shared.grpc_server import DEAD_PEER_SECONDS, GrpcServer, ListenAddress
from services.teacher.server import TeacherServer
from tests.services.test_teacher_service import PixelSums, make_server
from tests.support.http2 import Http2Caller
from tests.support.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.slow

SLACK_SECONDS = 10.0


@pytest.fixture
def teacher() -> Iterator[str]:
    server: TeacherServer = make_server(PixelSums())
    server.start()
    server.wait_until_ready(PATIENCE_SECONDS)
    yield server.address
    server.stop(0.0)


async def hold(requests: object, context: Any) -> None:
    """A call that lasts until its caller ends it."""
    await asyncio.Event().wait()


@pytest.fixture
def own() -> Iterator[str]:
    limits = ServerLimits(
        calls=8, calls_per_connection=8, max_request_bytes=1000, max_response_bytes=1000
    )
    handler: Any = grpc.stream_stream_rpc_method_handler(hold)
    generic = grpc.method_handlers_generic_handler("rrl.Test", {"Call": handler})
    server = GrpcServer(
        "the test",
        "rrl.Test",
        ListenAddress(host="127.0.0.1", port=0),
        limits,
        lambda made, _: made.add_generic_rpc_handlers((generic,)),
    )
    yield f"127.0.0.1:{server.start()}"
    server.stop(0.0)


@pytest.mark.parametrize(
    ("server", "method"),
    [("teacher", "/rrl.teacher.v1.Teacher/EvaluateStream"), ("own", "/rrl.Test/Call")],
)
def test_who_answers_no_sign_of_life_is_let_go_of(
    request: pytest.FixtureRequest, server: str, method: str
) -> None:
    caller = Http2Caller(request.getfixturevalue(server))
    with contextlib.closing(caller):
        caller.begin(method)
        began = time.monotonic()
        # What the server asks is read, and never answered.
        while caller.hears():
            assert time.monotonic() - began < DEAD_PEER_SECONDS + SLACK_SECONDS
