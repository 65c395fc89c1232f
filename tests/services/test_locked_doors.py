"""TLS, client certificates and tokens on the learner's service and on replay's control.

Both are real servers, asked by the clients that actors, evaluators and learners use.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import datetime
import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import grpc
import pytest
from grpc_health.v1 import health_pb2

from rrl_agents.types import Progress
from rrl_client import ClientSecurity
from services.learner.client import LearnerClient, LearnerRefused, LearnerUnavailable, Purpose
from services.learner.codec import EvaluationReport, progress_to_proto
from services.learner.published_weights import PublishedWeights
from services.learner.v1 import learner_pb2, learner_pb2_grpc
from services.learner.weight_server import weight_server
from services.replay.config import ReplayConfig
from services.replay.control_client import ControlClient, ReplayRefused
from services.replay.control_server import control_server
from services.replay.failures import ReplayTimeout
from services.replay.item_layout import ItemLayout
from services.replay.role import ReplayRole
from services.replay.v1 import replay_pb2, replay_pb2_grpc
from services.shared.call_limits import ServerLimits
from services.shared.errors import UserError
from services.shared.grpc_server import GrpcServer, ListenAddress
from services.shared.health import is_serving
from services.shared.security.server import SecurityConfig
from tests.support.patience import PATIENCE_SECONDS, wait_until
from tests.support.programs import need

if TYPE_CHECKING:
    from tests.services.conftest import Authority

ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef"
OTHER_TOKEN = "fedcba9876543210"
LAYOUT = ItemLayout(frame_shape=(10, 5), stack_size=1, n_step=1, num_actions=3, clips_rewards=False)

OPEN, REFUSED, UNREACHABLE = "open", "refused", "unreachable"
"""How asking ends: with an answer, by the token's check, or without a connection."""


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


class Service(Protocol):
    """One kind of service."""

    def serving(
        self, security: SecurityConfig, host: str = "127.0.0.1"
    ) -> contextlib.AbstractContextManager[str]:
        """Serves; gives its "localhost:port"."""

    def asking(
        self, address: str, security: ClientSecurity | None
    ) -> contextlib.AbstractContextManager[Callable[[], str]]:
        """A client; calling it asks once and says how that ended."""


class LearnerService:
    """Weights, progress, evaluations."""

    @contextlib.contextmanager
    def serving(self, security: SecurityConfig, host: str = "127.0.0.1") -> Iterator[str]:
        server = weight_server(Run(), host=host, port=0, security=security)
        port = server.start()
        try:
            yield f"localhost:{port}"
        finally:
            server.stop(0.0)

    @contextlib.contextmanager
    def asking(self, address: str, security: ClientSecurity | None) -> Iterator[Callable[[], str]]:
        client = LearnerClient(address, security=security)

        def ask() -> str:
            found = {_how(lambda: client.fetch(0, Purpose.ACT)), _how(client.progress)}
            assert len(found) == 1
            return found.pop()

        def _how(call: Callable[[], object]) -> str:
            try:
                call()
            except LearnerRefused:
                return REFUSED
            except LearnerUnavailable:
                return UNREACHABLE
            return OPEN

        with contextlib.closing(client):
            yield ask


class ControlService:
    """Replay's control, of tables that are served."""

    def __init__(self, role: ReplayRole) -> None:
        self._role = role

    @contextlib.contextmanager
    def serving(self, security: SecurityConfig, host: str = "127.0.0.1") -> Iterator[str]:
        server = control_server(self._role, host=host, port=0, security=security)
        port = server.start()
        try:
            yield f"localhost:{port}"
        finally:
            server.stop()

    @contextlib.contextmanager
    def asking(self, address: str, security: ClientSecurity | None) -> Iterator[Callable[[], str]]:
        client = ControlClient(address, security)

        def ask() -> str:
            try:
                client.status(PATIENCE_SECONDS)
            except ReplayRefused:
                return REFUSED
            except ReplayTimeout:
                return UNREACHABLE
            return OPEN

        with contextlib.closing(client):
            yield ask


@pytest.fixture(scope="module")
def role(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplayRole]:
    folder = tmp_path_factory.mktemp("replay")
    config = ReplayConfig(layout=LAYOUT, checkpoint_root=folder / "working", min_student_size=1)
    role = ReplayRole(config, folder / "checkpoints")
    role.start()
    yield role
    role.stop()


@pytest.fixture(params=["learner", "control"])
def service(request: pytest.FixtureRequest, role: ReplayRole) -> Service:
    return LearnerService() if request.param == "learner" else ControlService(role)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return write(tmp_path / "tokens", TOKEN)


def write(path: Path, text: str) -> Path:
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)
    return path


def outcome(service: Service, address: str, security: ClientSecurity | None) -> str:
    with service.asking(address, security) as ask:
        return ask()


def test_without_settings_a_service_is_open_on_this_machine(service: Service) -> None:
    with service.serving(SecurityConfig()) as address:
        assert outcome(service, address, None) == OPEN


def test_tls_lets_in_who_trusts_the_authority_and_nobody_else(
    service: Service, authority: Authority, stranger: Authority
) -> None:
    certificate, key = authority.issue("tls")
    with service.serving(SecurityConfig(certificate=certificate, private_key=key)) as address:
        right = ClientSecurity(root_certificates=authority.roots)
        assert outcome(service, address, right) == OPEN
        wrong = ClientSecurity(root_certificates=stranger.roots)
        assert outcome(service, address, wrong) == UNREACHABLE
        assert outcome(service, address, None) == UNREACHABLE
        assert is_serving(address, timeout_seconds=PATIENCE_SECONDS, security=right)


@pytest.mark.parametrize(
    ("known", "setting"), [(True, "server-name-override"), (False, "root-certificates")]
)
def test_a_certificate_that_is_not_taken_is_told_with_the_flag_that_helps(
    role: ReplayRole, authority: Authority, stranger: Authority, known: bool, setting: str
) -> None:
    certificate, key = authority.issue("named")
    config = SecurityConfig(certificate=certificate, private_key=key)
    security = ClientSecurity(root_certificates=(authority if known else stranger).roots)
    with LearnerService().serving(config) as served:
        # The certificate is localhost's.
        address = served.replace("localhost", "127.0.0.1")
        with (
            contextlib.closing(LearnerClient(address, security=security)) as client,
            pytest.raises(LearnerUnavailable, match=f"--peers.{setting}"),
        ):
            client.progress()
    with ControlService(role).serving(config) as served:
        address = served.replace("localhost", "127.0.0.1")
        with (
            contextlib.closing(ControlClient(address, security)) as control,
            pytest.raises(ReplayTimeout, match=f"--peers.{setting}"),
        ):
            control.status(PATIENCE_SECONDS)


def test_an_expired_certificate_is_not_trusted(service: Service, authority: Authority) -> None:
    # trustme's certificates begin in the year 2000.
    expired = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate, key = authority.issue("expired", not_after=expired)
    with service.serving(SecurityConfig(certificate=certificate, private_key=key)) as address:
        security = ClientSecurity(root_certificates=authority.roots)
        assert outcome(service, address, security) == UNREACHABLE


def test_mtls_lets_in_who_shows_a_certificate_of_the_client_authority(
    service: Service, authority: Authority, stranger: Authority
) -> None:
    certificate, key = authority.issue("mtls")
    config = SecurityConfig(certificate=certificate, private_key=key, client_ca=authority.roots)
    with service.serving(config) as address:
        for issuer, expected in ((authority, OPEN), (stranger, UNREACHABLE)):
            shown, shown_key = issuer.issue("client", "client.example")
            security = ClientSecurity(
                root_certificates=authority.roots, certificate=shown, private_key=shown_key
            )
            assert outcome(service, address, security) == expected
        without = ClientSecurity(root_certificates=authority.roots)
        assert outcome(service, address, without) == UNREACHABLE
        expired = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
        shown, shown_key = authority.issue("late", "client.example", not_after=expired)
        late = ClientSecurity(
            root_certificates=authority.roots, certificate=shown, private_key=shown_key
        )
        assert outcome(service, address, late) == UNREACHABLE


def test_the_right_token_is_let_in_and_a_wrong_one_and_none_are_told(
    service: Service, tokens: Path
) -> None:
    with service.serving(SecurityConfig(token_file=tokens)) as address:
        assert outcome(service, address, ClientSecurity(token=TOKEN)) == OPEN
        assert outcome(service, address, ClientSecurity(token=OTHER_TOKEN)) == REFUSED
        assert outcome(service, address, None) == REFUSED
        # Probes carry no secret.
        assert is_serving(address, timeout_seconds=PATIENCE_SECONDS)


def test_tls_and_token_together_want_both(
    service: Service, authority: Authority, tokens: Path
) -> None:
    certificate, key = authority.issue("both")
    config = SecurityConfig(certificate=certificate, private_key=key, token_file=tokens)
    # Over TLS tokens may travel: this is how a service is opened to other machines.
    with service.serving(config, host="0.0.0.0") as address:
        roots = authority.roots
        both = ClientSecurity(root_certificates=roots, token_file=tokens)
        assert outcome(service, address, both) == OPEN
        assert outcome(service, address, ClientSecurity(root_certificates=roots)) == REFUSED
        assert outcome(service, address, ClientSecurity(token=TOKEN)) == UNREACHABLE


def test_tokens_and_certificates_change_over_without_a_restart(
    service: Service, authority: Authority, stranger: Authority, tokens: Path
) -> None:
    served = copy.copy(authority)
    served.folder = tokens.parent
    certificate, key = served.issue("server")
    config = SecurityConfig(certificate=certificate, private_key=key, token_file=tokens)
    old = ClientSecurity(root_certificates=authority.roots, token=TOKEN)
    new = ClientSecurity(root_certificates=stranger.roots, token=OTHER_TOKEN)
    with service.serving(config) as address, service.asking(address, old) as ask:
        assert ask() == OPEN
        write(tokens, f"{TOKEN}\n{OTHER_TOKEN}\n")
        served.ca = stranger.ca
        served.issue("server")
        assert outcome(service, address, new) == OPEN
        # Who was connected stays so, for as long as the token is good.
        assert ask() == OPEN
        write(tokens, OTHER_TOKEN)
        assert ask() == REFUSED
        assert outcome(service, address, new) == OPEN


def test_a_service_that_would_expose_tokens_does_not_start(service: Service, tokens: Path) -> None:
    with (
        pytest.raises(UserError, match="would travel unencrypted"),
        service.serving(SecurityConfig(token_file=tokens), host="0.0.0.0"),
    ):
        pass


def test_a_learner_that_replay_does_not_let_in_is_told_at_the_start(
    role: ReplayRole, tokens: Path
) -> None:
    with (
        ControlService(role).serving(SecurityConfig(token_file=tokens)) as address,
        contextlib.closing(ControlClient(address)) as client,
        pytest.raises(UserError, match="--peers.token-file"),
    ):
        client.restore(0)


def test_an_unknown_method_is_refused_like_a_known_one(service: Service, tokens: Path) -> None:
    with (
        service.serving(SecurityConfig(token_file=tokens)) as address,
        grpc.insecure_channel(address) as channel,
        pytest.raises(grpc.RpcError) as raised,
    ):
        channel.unary_unary("/rrl.Unknown/Method")(b"", timeout=PATIENCE_SECONDS)
    assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED


LIMITS = ServerLimits(
    calls=1,
    calls_per_connection=4,
    max_request_bytes=1000,
    max_response_bytes=1000,
)


@contextlib.contextmanager
def limited(add: Callable[[grpc.aio.Server, object], None], name: str) -> Iterator[str]:
    server = GrpcServer("a test", name, ListenAddress(host="127.0.0.1", port=0), LIMITS, add)
    port = server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(0.0)


class Busy:
    """Holds up calls until it is let go."""

    def __init__(self) -> None:
        self.entered, self.let_go = threading.Event(), threading.Event()

    async def hold(self) -> None:
        self.entered.set()
        assert await asyncio.to_thread(self.let_go.wait, PATIENCE_SECONDS)


class BusyLearner(Busy, learner_pb2_grpc.LearnerServicer):
    async def GetProgress(
        self, request: learner_pb2.GetProgressRequest, context: object
    ) -> learner_pb2.GetProgressResponse:
        await self.hold()
        return learner_pb2.GetProgressResponse()


class BusyReplay(Busy, replay_pb2_grpc.ReplayServicer):
    async def GetStatus(
        self, request: replay_pb2.GetStatusRequest, context: object
    ) -> replay_pb2.GetStatusResponse:
        await self.hold()
        return replay_pb2.GetStatusResponse(served=replay_pb2.ServedTables(checkpoint=3))


def answers(client: LearnerClient) -> bool:
    try:
        client.progress()
    except LearnerUnavailable:
        return False
    return True


def test_a_call_too_many_is_told_to_ask_again() -> None:
    busy = BusyLearner()
    with (
        limited(
            lambda server, _: learner_pb2_grpc.add_LearnerServicer_to_server(busy, server),
            "rrl.learner.v1.Learner",
        ) as address,
        contextlib.closing(LearnerClient(address)) as client,
        grpc.insecure_channel(address) as channel,
    ):
        first = learner_pb2_grpc.LearnerStub(channel).GetProgress.future(
            learner_pb2.GetProgressRequest(), timeout=PATIENCE_SECONDS
        )
        assert busy.entered.wait(PATIENCE_SECONDS)
        with pytest.raises(LearnerUnavailable, match="RESOURCE_EXHAUSTED"):
            client.progress()
        busy.let_go.set()
        first.result()
        # The server counts a call for a moment longer than its caller.
        wait_until(lambda: answers(client), "there is room again")


def test_the_learner_asks_a_busy_replay_again_by_itself() -> None:
    busy = BusyReplay()
    with (
        limited(
            lambda server, _: replay_pb2_grpc.add_ReplayServicer_to_server(busy, server),
            "rrl.replay.v1.Replay",
        ) as address,
        contextlib.closing(ControlClient(address)) as client,
        grpc.insecure_channel(address) as channel,
    ):
        first = replay_pb2_grpc.ReplayStub(channel).GetStatus.future(
            replay_pb2.GetStatusRequest(), timeout=PATIENCE_SECONDS
        )
        assert busy.entered.wait(PATIENCE_SECONDS)
        threading.Timer(0.1, busy.let_go.set).start()
        assert client.status(PATIENCE_SECONDS).checkpoint == 3
        first.result()


def test_a_message_beyond_the_limit_is_not_read() -> None:
    busy = BusyReplay()
    with (
        limited(
            lambda server, _: replay_pb2_grpc.add_ReplayServicer_to_server(busy, server),
            "rrl.replay.v1.Replay",
        ) as address,
        grpc.insecure_channel(address) as channel,
        pytest.raises(grpc.RpcError) as raised,
    ):
        # A varint of three bytes for each: 400 of them are more than 1,000 bytes.
        many = replay_pb2.SaveRequest(keep=[20_000] * 400)
        replay_pb2_grpc.ReplayStub(channel).Save(many, timeout=PATIENCE_SECONDS)
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max (1" in str(raised.value.details())


def test_watchers_of_health_hear_of_its_end_though_others_came_and_left(service: Service) -> None:
    # With gRPC's own servicers, those who leave stop the whole server, or all others' news.
    with contextlib.ExitStack() as stack:
        serving = contextlib.ExitStack()
        address = serving.enter_context(service.serving(SecurityConfig()))
        channel = stack.enter_context(grpc.insecure_channel(address))
        watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        request = health_pb2.HealthCheckRequest()
        stays = watch(request, timeout=PATIENCE_SECONDS)
        assert next(stays).status == health_pb2.HealthCheckResponse.SERVING

        def came_and_left() -> bool:
            leaves = watch(request, timeout=PATIENCE_SECONDS)
            try:
                next(leaves)
            except grpc.RpcError as error:
                # A busy server still counts those of whose end it has not heard.
                assert error.code() == grpc.StatusCode.UNAVAILABLE
                return False
            # Right after its response: the server may still be about to hear that it was.
            leaves.cancel()
            return True

        for _ in range(400):
            wait_until(came_and_left)
        assert is_serving(address, timeout_seconds=PATIENCE_SECONDS)
        assert not is_serving(address, "rrl.Unknown", timeout_seconds=PATIENCE_SECONDS)
        serving.close()
        assert next(stays).status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_the_documented_commands_make_keys_that_open_the_doors(
    service: Service, tmp_path: Path
) -> None:
    need("openssl", "Debian's package openssl")
    text = (ROOT / "docs" / "security.md").read_text()
    commands = text.split("## Keys and tokens")[1].split("```sh\n")[1].split("```")[0]
    subprocess.run(["bash", "-e", "-c", commands], cwd=tmp_path, check=True, capture_output=True)
    config = SecurityConfig(
        certificate=tmp_path / "services.pem",
        private_key=tmp_path / "services.key",
        client_ca=tmp_path / "ca.pem",
        token_file=tmp_path / "token",
    )
    security = ClientSecurity(
        root_certificates=tmp_path / "ca.pem",
        certificate=tmp_path / "clients.pem",
        private_key=tmp_path / "clients.key",
        token_file=tmp_path / "token",
    )
    with service.serving(config, host="0.0.0.0") as address:
        assert outcome(service, address, security) == OPEN
        assert outcome(service, address, dataclasses.replace(security, token_file=None)) == REFUSED
    for secret in ("ca.key", "services.key", "clients.key", "token"):
        assert stat.S_IMODE((tmp_path / secret).stat().st_mode) == 0o600
