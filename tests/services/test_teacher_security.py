"""TLS, client certificates and bearer tokens on a real server, with real certificates."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import datetime
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from rrl_client import ClientSecurity, TeacherClient, TeacherUnauthenticated, TeacherUnavailable
from rrl_client.security import make_async_channel, make_channel
from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc
from services.shared.errors import UserError
from services.shared.security.server import SecurityConfig
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.server import TeacherServer
from tests.support.patience import PATIENCE_SECONDS
from tests.support.policies import PixelSums

if TYPE_CHECKING:
    from tests.services.conftest import Authority

TOKEN = "0123456789abcdef"
OTHER_TOKEN = "fedcba9876543210"
GAME = "sums"


def query(tag: int) -> teacher_pb2.QueryFrame:
    """A frame that asks for one observation of pixels 3 and 4: values 7 and 14."""
    request = teacher_pb2.EvaluateRequest(
        batch_rows=1, observation_shape=[2], observation_dtype="uint8", observations=bytes([3, 4])
    )
    return teacher_pb2.QueryFrame(queries=[teacher_pb2.Query(tag=tag, request=request)])


@contextlib.contextmanager
def serving(security: SecurityConfig, unix_socket: str | None = None) -> Iterator[str]:
    """A server; gives its "localhost:port"."""
    config = TeacherConfig(
        models=(ModelConfig(reference="in memory"),),
        port=0,
        unix_socket=unix_socket,
        metrics_port=None,
        batching=BatchingConfig(buckets=(1,)),
        security=security,
    )
    server = TeacherServer(config, [PixelSums(shape=(2,))])
    try:
        port = server.start()
        server.wait_until_ready(PATIENCE_SECONDS)
        yield f"localhost:{port}"
    finally:
        server.stop()


def replace(path: Path, content: bytes) -> Path:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    os.replace(new, path)
    return path


@pytest.fixture(scope="module")
def tls_address(authority: Authority) -> Iterator[str]:
    certificate, key = authority.issue("tls")
    with serving(SecurityConfig(certificate=certificate, private_key=key)) as address:
        yield address


@pytest.fixture(scope="module")
def mtls_address(authority: Authority) -> Iterator[str]:
    certificate, key = authority.issue("mtls")
    config = SecurityConfig(certificate=certificate, private_key=key, client_ca=authority.roots)
    with serving(config) as address:
        yield address


@pytest.fixture(scope="module")
def token_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    file = replace(tmp_path_factory.mktemp("token") / "tokens", TOKEN.encode())
    with serving(SecurityConfig(token_file=file)) as address:
        yield address


def describe(channel: grpc.Channel) -> str:
    stub = teacher_pb2_grpc.TeacherStub(channel)
    return str(stub.Describe(teacher_pb2.DescribeRequest(), timeout=PATIENCE_SECONDS).game)


def describe_by_future(channel: grpc.Channel) -> str:
    stub = teacher_pb2_grpc.TeacherStub(channel)
    call = stub.Describe.future(teacher_pb2.DescribeRequest(), timeout=PATIENCE_SECONDS)
    return str(call.result().game)


def describe_with_call(channel: grpc.Channel) -> str:
    stub = teacher_pb2_grpc.TeacherStub(channel)
    request = teacher_pb2.DescribeRequest()
    answer, _ = stub.Describe.with_call(request, timeout=PATIENCE_SECONDS)
    return str(answer.game)


def stream(channel: grpc.Channel) -> str:
    """Ask in a stream that stays open until an answer, or a refusal, has come."""
    settled = threading.Event()

    def frames() -> Iterator[teacher_pb2.QueryFrame]:
        yield query(tag=7)
        settled.wait(PATIENCE_SECONDS)

    stub = teacher_pb2_grpc.TeacherStub(channel)
    try:
        call = stub.EvaluateStream(frames(), timeout=PATIENCE_SECONDS)
        answers = next(frame.answers for frame in call if frame.answers)
        return GAME if answers[0].tag == 7 else "another's answer"
    finally:
        settled.set()


def silent_stream(channel: grpc.Channel) -> str:
    """Open a stream, send nothing, and wait to be refused."""
    settled = threading.Event()

    def frames() -> Iterator[teacher_pb2.QueryFrame]:
        settled.wait(PATIENCE_SECONDS)
        yield from ()

    stub = teacher_pb2_grpc.TeacherStub(channel)
    try:
        next(stub.EvaluateStream(frames(), timeout=PATIENCE_SECONDS))
    finally:
        settled.set()
    return "answered"


def reflect(channel: grpc.Channel) -> set[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = next(stub.ServerReflectionInfo(iter([asked]), timeout=PATIENCE_SECONDS))
    return {service.name for service in answer.list_services_response.service}


def check_health(channel: grpc.Channel) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
    return int(answer.status)


def watch_health(channel: grpc.Channel) -> int:
    watch = health_pb2_grpc.HealthStub(channel).Watch(
        health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS
    )
    status = int(next(watch).status)
    watch.cancel()
    return status


def code_of(
    address: str,
    security: ClientSecurity | None,
    ask: Callable[[grpc.Channel], object] = describe,
) -> grpc.StatusCode:
    """How a call ends."""
    with make_channel(address, security) as channel:
        try:
            ask(channel)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


def test_a_client_that_trusts_the_authority_is_served(
    tls_address: str, authority: Authority
) -> None:
    security = ClientSecurity(root_certificates=authority.roots)
    with make_channel(tls_address, security) as channel:
        assert describe(channel) == GAME
        assert stream(channel) == GAME


def test_a_client_that_trusts_another_authority_does_not_speak(
    tls_address: str, stranger: Authority
) -> None:
    security = ClientSecurity(root_certificates=stranger.roots)
    assert code_of(tls_address, security) == grpc.StatusCode.UNAVAILABLE
    # The public authorities did not sign it either.
    assert code_of(tls_address, ClientSecurity(tls=True)) == grpc.StatusCode.UNAVAILABLE


def test_plaintext_does_not_get_into_tls(tls_address: str) -> None:
    assert code_of(tls_address, None) == grpc.StatusCode.UNAVAILABLE


def test_an_expired_certificate_is_not_trusted(authority: Authority) -> None:
    # trustme's certificates begin in the year 2000.
    expired = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate, key = authority.issue("expired", not_after=expired)
    with serving(SecurityConfig(certificate=certificate, private_key=key)) as address:
        security = ClientSecurity(root_certificates=authority.roots)
        assert code_of(address, security) == grpc.StatusCode.UNAVAILABLE


def test_a_certificate_for_another_name_needs_the_override(authority: Authority) -> None:
    certificate, key = authority.issue("named", "teacher.example")
    with serving(SecurityConfig(certificate=certificate, private_key=key)) as address:
        plain = ClientSecurity(root_certificates=authority.roots)
        assert code_of(address, plain) == grpc.StatusCode.UNAVAILABLE
        named = ClientSecurity(
            root_certificates=authority.roots, server_name_override="teacher.example"
        )
        assert code_of(address, named) == grpc.StatusCode.OK


@pytest.mark.parametrize("shared_memory", [True, False])
def test_errors_name_the_setting_that_helps_with_a_certificate(
    authority: Authority, stranger: Authority, shared_memory: bool
) -> None:
    certificate, key = authority.issue("named", "teacher.example")
    with serving(SecurityConfig(certificate=certificate, private_key=key)) as served:
        # Of a name with several addresses gRPC reports the last alone, which may have no listener.
        address = served.replace("localhost", "127.0.0.1")
        for roots, setting in (
            (authority.roots, "server_name_override.*--peers.server-name-override"),
            (stranger.roots, "root_certificates.*--peers.root-certificates"),
        ):
            security = ClientSecurity(root_certificates=roots)
            with TeacherClient(address, shared_memory=shared_memory, security=security) as client:
                with pytest.raises(TeacherUnavailable, match=setting):
                    client.describe()
                with pytest.raises(TeacherUnavailable, match=setting):
                    client.evaluate_future(np.asarray([[3, 4]], np.uint8)).result()
                with pytest.raises(TeacherUnavailable, match=f"within 2 s.*{setting}"):
                    client.wait_until_ready(2.0)


@pytest.mark.parametrize("has_tls", [True, False])
def test_errors_say_that_only_one_side_speaks_tls(authority: Authority, has_tls: bool) -> None:
    certificate, key = authority.issue("one-sided")
    config = SecurityConfig(certificate=certificate, private_key=key)
    security = ClientSecurity(root_certificates=authority.roots)
    reason = "accepts TLS only.*--peers.root-certificates" if has_tls else "it does not use TLS"
    with serving(config if has_tls else SecurityConfig()) as served:
        address = served.replace("localhost", "127.0.0.1")
        with (
            TeacherClient(address, security=None if has_tls else security) as client,
            pytest.raises(TeacherUnavailable, match=reason),
        ):
            client.describe()


@pytest.mark.parametrize("names", [("localhost",), ("teacher.example",)])
def test_a_unix_socket_is_served_with_the_same_tls_and_token(
    tmp_path: Path, authority: Authority, names: tuple[str, ...]
) -> None:
    certificate, key = authority.issue("socket", *names)
    tokens = replace(tmp_path / "tokens", TOKEN.encode())
    config = SecurityConfig(certificate=certificate, private_key=key, token_file=tokens)
    socket_path = tmp_path / "teacher.sock"
    override = None if names == ("localhost",) else names[0]
    with serving(config, str(socket_path)) as address:
        security = ClientSecurity(
            root_certificates=authority.roots, token=TOKEN, server_name_override=override
        )
        for target in (address, f"unix:{socket_path}"):
            for shared_memory in (True, False):
                with TeacherClient(
                    target, shared_memory=shared_memory, security=security
                ) as client:
                    answer = client.evaluate(np.asarray([[3, 4]], np.uint8))
                    assert answer.action_values.tolist() == [[7.0, 14.0]]
        assert code_of(f"unix:{socket_path}", None) == grpc.StatusCode.UNAVAILABLE


def test_certificates_of_a_unix_socket_change_over_without_a_restart(
    tmp_path: Path, authority: Authority
) -> None:
    certificate, key = authority.issue("changing", "old.example")
    socket_path = tmp_path / "teacher.sock"
    config = SecurityConfig(certificate=certificate, private_key=key)
    with serving(config, str(socket_path)) as address:
        for name in ("old.example", "new.example"):
            if name == "new.example":
                authority.issue("changing", name)
            security = ClientSecurity(root_certificates=authority.roots, server_name_override=name)
            for target in (address, f"unix:{socket_path}"):
                assert code_of(target, security) == grpc.StatusCode.OK


def test_mtls_serves_only_who_shows_a_certificate_of_the_client_authority(
    mtls_address: str, authority: Authority, stranger: Authority
) -> None:
    certificate, key = authority.issue("client", "client.example")
    known = ClientSecurity(
        root_certificates=authority.roots, certificate=certificate, private_key=key
    )
    assert code_of(mtls_address, known) == grpc.StatusCode.OK

    without = ClientSecurity(root_certificates=authority.roots)
    assert code_of(mtls_address, without) == grpc.StatusCode.UNAVAILABLE

    certificate, key = stranger.issue("client", "client.example")
    unknown = ClientSecurity(
        root_certificates=authority.roots, certificate=certificate, private_key=key
    )
    assert code_of(mtls_address, unknown) == grpc.StatusCode.UNAVAILABLE


ASKING = [describe, describe_by_future, describe_with_call, stream]


@pytest.mark.parametrize("ask", ASKING)
def test_the_right_token_is_let_in(token_address: str, ask: Callable[..., object]) -> None:
    with make_channel(token_address, ClientSecurity(token=TOKEN)) as channel:
        assert ask(channel) == GAME


@pytest.mark.parametrize("security", [None, ClientSecurity(token=OTHER_TOKEN)])
@pytest.mark.parametrize("ask", [*ASKING, silent_stream, reflect])
def test_no_token_and_a_wrong_one_are_refused_by_every_kind_of_method(
    token_address: str, security: ClientSecurity | None, ask: Callable[..., object]
) -> None:
    assert code_of(token_address, security, ask) == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("ask", [check_health, watch_health])
def test_health_needs_no_token(token_address: str, ask: Callable[..., object]) -> None:
    with make_channel(token_address) as channel:
        assert ask(channel) == health_pb2.HealthCheckResponse.SERVING


def test_reflection_answers_with_the_token(token_address: str) -> None:
    with make_channel(token_address, ClientSecurity(token=TOKEN)) as channel:
        assert "rrl.teacher.v1.Teacher" in reflect(channel)


@pytest.mark.parametrize(
    "value",
    [
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer ",
        "",
        f"Bearer {TOKEN}, Bearer {TOKEN}",
    ],
)
def test_headers_that_are_nearly_right_are_refused(token_address: str, value: str) -> None:
    with grpc.insecure_channel(token_address) as channel:
        stub = teacher_pb2_grpc.TeacherStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            stub.Describe(
                teacher_pb2.DescribeRequest(),
                metadata=(("authorization", value),),
                timeout=PATIENCE_SECONDS,
            )
        assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_tokens_change_over_without_a_restart(tmp_path: Path) -> None:
    served, shown = tmp_path / "served", replace(tmp_path / "shown", TOKEN.encode())
    replace(served, TOKEN.encode())
    with (
        serving(SecurityConfig(token_file=served)) as address,
        make_channel(address, ClientSecurity(token_file=shown)) as channel,
    ):
        assert describe(channel) == GAME
        # Both are valid while clients change over, then the old one goes.
        replace(served, f"{TOKEN}\n{OTHER_TOKEN}\n".encode())
        assert describe(channel) == GAME
        replace(shown, OTHER_TOKEN.encode())
        assert describe(channel) == GAME
        replace(served, OTHER_TOKEN.encode())
        assert describe(channel) == GAME
        old = ClientSecurity(token=TOKEN)
        assert code_of(address, old) == grpc.StatusCode.UNAUTHENTICATED
        # A damaged file locks no caller out.
        replace(served, b"")
        assert describe(channel) == GAME


@pytest.mark.parametrize("content", [None, b"", b"short\n"])
def test_a_token_file_that_is_gone_or_holds_none_revokes_where_that_is_asked_for(
    tmp_path: Path, content: bytes | None
) -> None:
    served = replace(tmp_path / "served", TOKEN.encode())
    shown = ClientSecurity(token=TOKEN)
    with (
        serving(SecurityConfig(token_file=served, missing_tokens_revoke=True)) as address,
        make_channel(address, shown) as channel,
    ):
        assert describe(channel) == GAME
        if content is None:
            served.unlink()
        else:
            replace(served, content)
        assert code_of(address, shown) == grpc.StatusCode.UNAUTHENTICATED
        replace(served, TOKEN.encode())
        assert code_of(address, shown) == grpc.StatusCode.OK


def test_certificates_change_over_without_a_restart(
    tmp_path: Path, authority: Authority, stranger: Authority
) -> None:
    served = copy.copy(authority)
    served.folder = tmp_path
    certificate, key = served.issue("server")
    old = ClientSecurity(root_certificates=authority.roots)
    new = ClientSecurity(root_certificates=stranger.roots)
    with (
        serving(SecurityConfig(certificate=certificate, private_key=key)) as address,
        make_channel(address, old) as open_before,
    ):
        assert describe(open_before) == GAME
        # Half of a rotation: a key without its certificate changes nothing.
        replace(key, b"not written yet")
        assert code_of(address, old) == grpc.StatusCode.OK
        served.ca = stranger.ca
        served.issue("server")
        assert code_of(address, new) == grpc.StatusCode.OK
        assert code_of(address, old) == grpc.StatusCode.UNAVAILABLE
        # Who was connected stays so.
        assert describe(open_before) == GAME


@pytest.mark.parametrize("encrypted", [False, True])
def test_asyncio_channels_carry_the_token_too(
    tmp_path: Path, authority: Authority, encrypted: bool
) -> None:
    certificate, key = authority.issue("async") if encrypted else (None, None)
    file = replace(tmp_path / "tokens", TOKEN.encode())
    roots = authority.roots if encrypted else None

    async def ask(address: str, token: str | None) -> tuple[str, int, int]:
        security = ClientSecurity(root_certificates=roots, token=token)
        async with make_async_channel(address, security) as channel:
            health = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS
            )
            stub = teacher_pb2_grpc.TeacherStub(channel)
            call = stub.EvaluateStream(timeout=PATIENCE_SECONDS)
            # As the contract has it: nothing is sent before the credit has come. (asyncio's gRPC
            # reports a write that meets a refusal as INTERNAL.)
            assert (await call.read()).credit_rows > 0
            await call.write(query(tag=7))
            tag = (await call.read()).answers[0].tag
            await call.done_writing()
            answer = await stub.Describe(teacher_pb2.DescribeRequest(), timeout=PATIENCE_SECONDS)
            return answer.game, tag, health.status

    config = SecurityConfig(certificate=certificate, private_key=key, token_file=file)
    with serving(config) as address:
        serving_status = health_pb2.HealthCheckResponse.SERVING
        assert asyncio.run(ask(address, TOKEN)) == (GAME, 7, serving_status)
        for wrong in (None, OTHER_TOKEN):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                asyncio.run(ask(address, wrong))
            assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    token_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # That port has no listener: a call that went by way of the proxy would fail.
    for name in ("grpc_proxy", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with grpc.insecure_channel(token_address) as channel, pytest.raises(grpc.RpcError) as failed:
        check_health(channel)
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
    assert code_of(token_address, None, check_health) == grpc.StatusCode.OK
    assert code_of(token_address, ClientSecurity(token=TOKEN)) == grpc.StatusCode.OK


@pytest.mark.parametrize("shared_memory", [True, False])
def test_our_client_gets_in_with_token_and_tls(
    tmp_path: Path, authority: Authority, shared_memory: bool
) -> None:
    certificate, key = authority.issue("all")
    tokens = replace(tmp_path / "tokens", TOKEN.encode())
    config = SecurityConfig(certificate=certificate, private_key=key, token_file=tokens)
    with serving(config) as address:
        security = ClientSecurity(root_certificates=authority.roots, token=TOKEN)
        with TeacherClient(address, shared_memory=shared_memory, security=security) as client:
            answer = client.evaluate(np.asarray([[3, 4]], np.uint8))
            # 3 + 4, and twice that.
            assert answer.action_values.tolist() == [[7.0, 14.0]]
        security = ClientSecurity(root_certificates=authority.roots, token=OTHER_TOKEN)
        with (
            TeacherClient(address, shared_memory=shared_memory, security=security) as client,
            pytest.raises(TeacherUnauthenticated),
        ):
            client.evaluate(np.asarray([[3, 4]], np.uint8))


def test_a_server_that_would_expose_tokens_does_not_start(tmp_path: Path) -> None:
    tokens = replace(tmp_path / "tokens", TOKEN.encode())
    config = TeacherConfig(
        models=(ModelConfig(reference="in memory"),),
        host="0.0.0.0",
        port=0,
        metrics_port=None,
        security=SecurityConfig(token_file=tokens),
    )
    with pytest.raises(UserError, match="would travel unencrypted"):
        TeacherServer(config, [PixelSums(shape=(2,))]).start()
