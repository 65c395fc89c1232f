"""Who listens where: nothing beyond loopback by default, Reverb's port included."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import logging
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import reverb
from prometheus_client import CollectorRegistry

from rrl_agents.types import Progress
from services.launcher.roles import ReplayPorts, serving_replay
from services.learner.codec import EvaluationReport, progress_to_proto
from services.learner.config import LearnerConfig
from services.learner.published_weights import PublishedWeights
from services.learner.v1 import learner_pb2
from services.learner.weight_server import weight_server
from services.replay import loopback_guard
from services.replay.config import ReplayConfig
from services.replay.connection import table_counts
from services.replay.item_layout import ItemLayout
from services.shared.addresses import free_port
from services.shared.metrics import MetricsServer
from services.shared.security.server import SecurityConfig
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.server import TeacherServer
from tests.support.patience import PATIENCE_SECONDS
from tests.support.policies import PixelSums

if TYPE_CHECKING:
    from tests.services.conftest import Authority

LAYOUT = ItemLayout(frame_shape=(10, 5), stack_size=1, n_step=1, num_actions=3, clips_rewards=False)
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


class Run:
    """A run that has begun; what the learner's service shows."""

    session = "first"
    progress = Progress(random_return=-1.0)

    def __init__(self) -> None:
        self.acting = PublishedWeights()
        self.evaluation = PublishedWeights()

    def report_progress(self) -> learner_pb2.GetProgressResponse:
        return learner_pb2.GetProgressResponse(progress=progress_to_proto(self.progress))

    def take_evaluation(self, report: EvaluationReport) -> Progress:
        return self.progress


@pytest.fixture
def outside() -> str:
    """An address of this machine that others could reach it by."""
    found = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET
        and not ipaddress.ip_address(address.address).is_loopback
    ]
    if not found:
        pytest.skip("missing: a network interface beside loopback")
    return found[0]


@contextlib.contextmanager
def replay(
    folder: Path,
    host: str = "127.0.0.1",
    security: SecurityConfig = SecurityConfig(),  # noqa: B008 - frozen
) -> Iterator[ReplayPorts]:
    config = ReplayConfig(
        layout=LAYOUT,
        checkpoint_root=folder / "working",
        min_student_size=1,
        port=free_port(),
        host=host,
    )
    with serving_replay(
        config,
        folder / "checkpoints",
        control_port=0,
        security=security,
        registry=CollectorRegistry(),
    ) as ports:
        yield ports


@contextlib.contextmanager
def teacher(
    host: str = "127.0.0.1",
    security: SecurityConfig = SecurityConfig(),  # noqa: B008 - frozen
) -> Iterator[TeacherServer]:
    config = TeacherConfig(
        models=(ModelConfig(reference="in memory"),),
        host=host,
        security=security,
        port=0,
        metrics_port=0,
        batching=BatchingConfig(buckets=(1,)),
    )
    server = TeacherServer(config, [PixelSums(shape=(2,))])
    try:
        server.start()
        server.wait_until_ready(PATIENCE_SECONDS)
        yield server
    finally:
        server.stop()


def default_host(config: type[Any]) -> str:
    return str(config.__dataclass_fields__["host"].default)


@contextlib.contextmanager
def learner(
    host: str | None = None,
    security: SecurityConfig = SecurityConfig(),  # noqa: B008 - frozen
) -> Iterator[int]:
    host = default_host(LearnerConfig) if host is None else host
    server = weight_server(Run(), host=host, port=0, security=security)
    port = server.start()
    try:
        yield port
    finally:
        server.stop(0.0)


def listeners() -> set[tuple[str, int]]:
    """Address and port of everything that this process listens on."""
    return {
        # gRPC has sockets of both kinds of IP, on which IPv4 looks like this.
        (connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port)
        for connection in psutil.Process().net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def answers(host: str, port: int) -> bool:
    """Whether HTTP/2 is spoken there."""
    try:
        with socket.create_connection((host, port), timeout=PATIENCE_SECONDS) as connection:
            connection.settimeout(PATIENCE_SECONDS)
            connection.sendall(HTTP2_GREETING)
            return len(connection.recv(1)) == 1
    except ConnectionError:
        return False


def test_told_nothing_every_service_keeps_to_this_machine(tmp_path: Path, outside: str) -> None:
    before = listeners()
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(teacher())
        ports = stack.enter_context(replay(tmp_path))
        weights_port = stack.enter_context(learner())
        page = stack.enter_context(contextlib.closing(MetricsServer(CollectorRegistry())))
        found = listeners() - before
        queries_port = int(served.address.rpartition(":")[2])
        loopback = {queries_port, served.metrics_port, ports.control, weights_port, page.port}
        assert {port for host, port in found if host == "127.0.0.1"} == loopback
        # Reverb knows no interfaces, but a guard shares its port.
        beyond = {(host, port) for host, port in found if host != "127.0.0.1"}
        assert beyond == {("::", ports.data)} or beyond == {("0.0.0.0", ports.data)}
        for port in (ports.data, ports.control, weights_port, queries_port):
            assert answers("127.0.0.1", port)
            assert not answers(outside, port)


@contextlib.contextmanager
def teacher_port(folder: Path, host: str, security: SecurityConfig) -> Iterator[int]:
    with teacher(host, security) as served:
        yield int(served.address.rpartition(":")[2])


@contextlib.contextmanager
def learner_port(folder: Path, host: str, security: SecurityConfig) -> Iterator[int]:
    with learner(host, security) as port:
        yield port


@contextlib.contextmanager
def control_port(folder: Path, host: str, security: SecurityConfig) -> Iterator[int]:
    with replay(folder, host, security) as ports:
        yield ports.control


Serve = Callable[[Path, str, SecurityConfig], contextlib.AbstractContextManager[int]]
SERVERS: dict[str, Serve] = {
    "the teacher": teacher_port,
    "the learner": learner_port,
    "replay's control": control_port,
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> tuple[str, Serve]:
    """What a server calls itself, and what starts it."""
    return request.param.partition(",")[0], SERVERS[request.param]


def warnings_of(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    """What was logged about where a server listens."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and record.getMessage().startswith(f"{name} listens")
    ]


def test_a_server_that_others_reach_says_once_what_it_does_not_ask_for(
    server: tuple[str, Serve], tmp_path: Path, outside: str, caplog: pytest.LogCaptureFixture
) -> None:
    name, serve = server
    with serve(tmp_path, "0.0.0.0", SecurityConfig()) as port:
        for _ in range(3):
            assert answers(outside, port)
    (said,) = warnings_of(caplog, name)
    assert "on 0.0.0.0 without encryption or authentication" in said
    for setting in ("--certificate", "--private-key", "--token-file", "--host"):
        assert setting in said
    assert "\n" not in said


def test_encryption_alone_is_told_from_both(
    server: tuple[str, Serve],
    tmp_path: Path,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name, serve = server
    certificate, key = authority.issue("listener")
    tls = SecurityConfig(certificate=certificate, private_key=key)
    with serve(tmp_path / "tls", "0.0.0.0", tls):
        pass
    (said,) = warnings_of(caplog, name)
    assert "without authentication; set --token-file" in said
    assert "--certificate" not in said
    caplog.clear()
    tokens = tmp_path / "tokens"
    tokens.write_text("0123456789abcdef")
    for who in ({"token_file": tokens}, {"client_ca": authority.roots}):
        with serve(tmp_path / "both", "0.0.0.0", dataclasses.replace(tls, **who)):
            pass
    assert not warnings_of(caplog, name)


def test_a_server_of_this_machine_alone_says_nothing(
    server: tuple[str, Serve], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name, serve = server
    with serve(tmp_path, "127.0.0.1", SecurityConfig()):
        pass
    assert not warnings_of(caplog, name)


def test_told_to_replay_is_open_to_others_and_says_so(
    tmp_path: Path, outside: str, caplog: pytest.LogCaptureFixture
) -> None:
    with replay(tmp_path, host="0.0.0.0") as ports:
        assert answers(outside, ports.data)
        assert answers(outside, ports.control)
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    (said,) = [each.getMessage() for each in warned if str(ports.data) in each.getMessage()]
    assert "open on all interfaces, without encryption or authentication" in said
    assert "--host 127.0.0.1" in said


def test_every_connection_from_outside_is_turned_away_and_none_from_here(
    tmp_path: Path, outside: str, caplog: pytest.LogCaptureFixture
) -> None:
    with replay(tmp_path) as ports:
        for _ in range(10):
            assert not answers(outside, ports.data)
            for host in ("127.0.0.1", "localhost"):
                assert answers(host, ports.data)
        # Frequent attempts do not fill the log.
        said = [record for record in caplog.records if "refused so far" in record.getMessage()]
        assert len(said) == 1
        assert outside in said[0].getMessage()
        counts = table_counts(f"localhost:{ports.data}")
        assert all(table.inserted == 0 for table in counts.values())


def test_who_came_before_the_guard_is_cut_off(outside: str) -> None:
    port = free_port()
    table = reverb.Table.queue("table", max_size=10)
    server = reverb.Server([table], port=port)
    try:
        with (
            socket.create_connection((outside, port), timeout=PATIENCE_SECONDS) as early,
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as neighbour,
        ):
            for connection in (early, neighbour):
                connection.settimeout(PATIENCE_SECONDS)
                connection.sendall(HTTP2_GREETING)
                assert connection.recv(1)
            with contextlib.closing(loopback_guard.LoopbackGuard(port)):
                while early.recv(1000):
                    pass
                neighbour.sendall(bytes([0, 0, 8, 6, 0, 0, 0, 0, 0]) + b"a ping..")
                end = time.monotonic() + PATIENCE_SECONDS
                echoed = b""
                while b"a ping.." not in echoed:
                    assert time.monotonic() < end
                    echoed += neighbour.recv(1000)
                server.stop()
    finally:
        server.stop()


def test_a_system_without_the_filter_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # No socket option has this number: setting it fails as it does on such a system.
    monkeypatch.setattr(loopback_guard, "_ATTACH_REUSEPORT_CBPF", 9999)
    with replay(tmp_path) as ports:
        assert table_counts(f"localhost:{ports.data}")
    (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert "cannot limit it to loopback" in warning.getMessage()
