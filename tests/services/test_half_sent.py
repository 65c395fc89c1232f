"""Callers who begin a call and never finish it: the others are served, and it ends."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc
from services.learner.v1 import learner_pb2, learner_pb2_grpc
from services.learner.weight_server import weight_server
from services.replay.control_server import control_server
from services.replay.v1 import replay_pb2, replay_pb2_grpc
from services.shared.health import is_serving
from services.shared.security.server import SecurityConfig
from tests.services.test_listeners import Run
from tests.services.test_teacher_service import PixelSums, make_server
from tests.support.http2 import Http2Caller, prefix
from tests.support.patience import PATIENCE_SECONDS

HEALTH = "/grpc.health.v1.Health"
CHECK, WATCH = f"{HEALTH}/Check", f"{HEALTH}/Watch"
TOKEN = "0123456789abcdef-of-a-test"
SHOWN = ("authorization", f"Bearer {TOKEN}")
DEADLINE_EXCEEDED, UNAUTHENTICATED, INVALID_ARGUMENT, UNAVAILABLE = "4", "16", "3", "14"
RESOURCE_EXHAUSTED = "8"
MIB = 2**20

Ask = Callable[[grpc.Channel, Any], object]


class Service:
    """One of the three, with a call of its own that is answered from memory."""

    def __init__(
        self, methods: tuple[str, ...], ask: Ask, start: Callable[[SecurityConfig], Any]
    ) -> None:
        self.methods, self.ask, self.start = methods, ask, start


def _methods(descriptor: Any, *names: str) -> tuple[str, ...]:
    service = next(iter(descriptor.services_by_name.values()))
    return tuple(f"/{service.full_name}/{name}" for name in names)


@contextlib.contextmanager
def _teacher(security: SecurityConfig) -> Iterator[str]:
    server = make_server(PixelSums(), security=security)
    server.start()
    server.wait_until_ready(PATIENCE_SECONDS)
    yield server.address
    server.stop(0.0)


@contextlib.contextmanager
def _learner(security: SecurityConfig) -> Iterator[str]:
    server = weight_server(Run(), host="127.0.0.1", port=0, security=security)
    yield f"127.0.0.1:{server.start()}"
    server.stop(0.0)


@contextlib.contextmanager
def _replay(security: SecurityConfig) -> Iterator[str]:
    class Role:
        served = None

    server = control_server(Role(), host="127.0.0.1", port=0, security=security)  # type: ignore[arg-type]
    yield f"127.0.0.1:{server.start()}"
    server.stop()


def _ask_replay(channel: grpc.Channel, metadata: Any) -> None:
    # There are no tables: the role's own answer is that.
    with pytest.raises(grpc.RpcError) as raised:
        replay_pb2_grpc.ReplayStub(channel).GetStatus(
            replay_pb2.GetStatusRequest(), timeout=PATIENCE_SECONDS, metadata=metadata
        )
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "being loaded" in str(raised.value.details())


SERVICES = {
    "teacher": Service(
        _methods(teacher_pb2.DESCRIPTOR, "Describe", "ListModels", "Evaluate"),
        lambda channel, metadata: teacher_pb2_grpc.TeacherStub(channel).Describe(
            teacher_pb2.DescribeRequest(), timeout=PATIENCE_SECONDS, metadata=metadata
        ),
        _teacher,
    ),
    "learner": Service(
        _methods(learner_pb2.DESCRIPTOR, "GetWeights", "GetProgress", "ReportEvaluation"),
        lambda channel, metadata: learner_pb2_grpc.LearnerStub(channel).GetProgress(
            learner_pb2.GetProgressRequest(), timeout=PATIENCE_SECONDS, metadata=metadata
        ),
        _learner,
    ),
    "replay": Service(
        _methods(replay_pb2.DESCRIPTOR, "GetStatus", "Restore", "Save"),
        _ask_replay,
        _replay,
    ),
}


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> Service:
    return SERVICES[request.param]


# All three have the same server around their calls.
one_service = pytest.mark.parametrize(
    "service",
    ["teacher", *(pytest.param(name, marks=pytest.mark.slow) for name in ("learner", "replay"))],
    indirect=True,
)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text(TOKEN)
    return file


def is_well(address: str) -> bool:
    return is_serving(address, timeout_seconds=PATIENCE_SECONDS)


def ended(caller: Http2Caller, streams: list[int]) -> list[str]:
    """How calls ended; waits for them."""
    return all_ended({caller: streams})[caller]


def all_ended(calls: dict[Http2Caller, list[int]]) -> dict[Http2Caller, list[str]]:
    """How the calls of several callers ended, all of whom answer pings while they wait."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not all(caller.statuses.keys() >= {*streams} for caller, streams in calls.items()):
        assert time.monotonic() < end
        for caller in calls:
            caller.listen(0.01)
            assert not caller.gone
    return {
        caller: [caller.statuses[stream] for stream in streams] for caller, streams in calls.items()
    }


@pytest.mark.parametrize(
    ("begun", "has_token"),
    [
        (prefix(1000) + b"\n", True),
        *(
            pytest.param(begun, has_token, marks=pytest.mark.slow)
            for begun, has_token in [
                (b"", True),
                (b"\0\0", True),
                (b"", False),
                (b"\0\0", False),
                (prefix(1000) + b"\n", False),
            ]
        ),
    ],
)
def test_calls_without_their_message_hold_nobody_up_and_end(
    service: Service, tokens: Path, begun: bytes, has_token: bool
) -> None:
    metadata = [SHOWN] if has_token else []
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(service.start(SecurityConfig(token_file=tokens)))
        calls: dict[Http2Caller, list[int]] = {}
        methods: dict[Http2Caller, str] = {}
        for method in (*service.methods, CHECK, WATCH):
            for _ in range(2):
                caller = stack.enter_context(contextlib.closing(Http2Caller(address)))
                caller.listen(0.1)
                methods[caller] = method
                calls[caller] = [caller.begin(method, metadata) for _ in range(caller.most_calls)]
                for stream in calls[caller]:
                    caller.send(stream, begun)
        assert is_well(address)
        with grpc.insecure_channel(address) as channel:
            service.ask(channel, (SHOWN,))
        for caller, statuses in all_ended(calls).items():
            assert len(statuses) >= 16
            refused = not has_token and methods[caller] in service.methods
            expected = {UNAUTHENTICATED} if refused else {DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED}
            assert set(statuses) <= expected


def test_a_request_that_is_none_is_called_that(service: Service) -> None:
    with (
        service.start(SecurityConfig()) as address,
        contextlib.closing(Http2Caller(address)) as caller,
    ):
        streams = []
        for method in (*service.methods, CHECK, WATCH):
            for content in (b"", prefix(3) + b"\xff\xff\xff"):
                streams.append(caller.begin(method))
                caller.send(streams[-1], content, end=True)
        assert set(ended(caller, streams)) == {INVALID_ARGUMENT}
        assert is_well(address)


@one_service
@pytest.mark.parametrize("method", [CHECK, pytest.param(WATCH, marks=pytest.mark.slow)])
def test_health_has_room_of_its_own(service: Service, method: str) -> None:
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(service.start(SecurityConfig()))
        callers = [stack.enter_context(contextlib.closing(Http2Caller(address))) for _ in range(90)]
        for caller in callers:
            caller.listen(0.01)
            for _ in range(caller.most_calls):
                stream = caller.begin(method)
                if method == WATCH:
                    caller.send(stream, prefix(0), end=True)
        # gRPC drops calls while a thousand have not been looked at yet.
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_well(address):
            assert time.monotonic() < end
        with grpc.insecure_channel(address) as channel:
            service.ask(channel, ())


@one_service
def test_what_is_half_sent_has_little_memory(service: Service) -> None:
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(service.start(SecurityConfig()))
        process = psutil.Process(os.getpid())
        before = process.memory_info().rss
        for method in (CHECK, *service.methods):
            calls = []
            for _ in range(100):
                caller = stack.enter_context(contextlib.closing(Http2Caller(address)))
                calls.append((caller, caller.begin(method)))
                caller.send(calls[-1][1], prefix(28 * MIB))
            sent = 0
            for _ in range(10):
                for caller, stream in calls:
                    sent += caller.send(stream, bytes(MIB))
                    caller.listen(0.001)
        assert process.memory_info().rss - before < 400 * MIB
        assert is_well(address)


def test_watchers_beyond_the_most_take_the_place_of_the_oldest(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.shared.health._MOST_WATCHERS", 3)
    with (
        service.start(SecurityConfig()) as address,
        contextlib.closing(Http2Caller(address)) as caller,
    ):
        watches = []
        for _ in range(5):
            watches.append(caller.begin(WATCH))
            caller.send(watches[-1], prefix(0), end=True)
            while watches[-1] not in caller.answered:
                caller.listen(0.05)
        assert set(ended(caller, watches[:2])) == {UNAVAILABLE}
        assert not caller.statuses.keys() & set(watches[2:])
        assert is_well(address)
