"""Settings of server and client security, and the files behind them; no connection is made."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from rrl_client import ClientSecurity
from rrl_client.credentials import (
    MAX_FILE_BYTES,
    Watched,
    is_loopback,
    read_authorities,
    read_key_pair,
    read_tokens,
)
from rrl_client.security import is_local_target, make_channel
from services.shared.errors import UserError
from services.shared.security.interceptors import TokenCheck
from services.shared.security.server import (
    SecurityConfig,
    check_exposure,
    server_credentials,
    warn_of_exposure,
)

TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, a certificate with its key, and the key of another."""
    folder = tmp_path_factory.mktemp("pems")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    server, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    (folder / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in server.cert_chain_pems))
    server.private_key_pem.write_to_path(folder / "key.pem")
    other.private_key_pem.write_to_path(folder / "other_key.pem")
    key = serialization.load_pem_private_key(server.private_key_pem.bytes(), None)
    (folder / "locked_key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    (folder / "no.pem").write_text("nothing of the kind\n")
    return folder


def write(path: Path, text: str) -> Path:
    """Replace a file as an operator should: by renaming a complete one onto it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)
    return path


UNMATCHED: list[tuple[dict[str, Any], str]] = [
    ({"certificate": Path("c")}, "private_key is not set"),
    ({"private_key": Path("k")}, "certificate is not set"),
]


@pytest.mark.parametrize(
    ("settings", "reason"), [*UNMATCHED, ({"client_ca": Path("ca")}, "without TLS")]
)
def test_settings_of_a_server_that_do_not_belong_together_are_refused(
    settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        SecurityConfig(**settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "unix:/s"])
def test_a_token_may_travel_unencrypted_on_this_machine(host: str) -> None:
    check_exposure(SecurityConfig(token_file=Path("t")), host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "localhost.example", "box"])
def test_a_token_must_not_travel_unencrypted_over_a_network(host: str) -> None:
    with pytest.raises(UserError, match="certificate and private key"):
        check_exposure(SecurityConfig(token_file=Path("t")), host)
    check_exposure(SecurityConfig(), host)
    tls = SecurityConfig(certificate=Path("c"), private_key=Path("k"), token_file=Path("t"))
    check_exposure(tls, host)


TLS = SecurityConfig(certificate=Path("c"), private_key=Path("k"))
OPEN = (
    "the learner listens on {} without encryption or authentication; set --certificate and "
    "--private-key (TLS) and --token-file or --client-ca (over TLS), or --host 127.0.0.1 to keep "
    "it to this machine (docs/security.md)"
)


@pytest.mark.parametrize(
    ("config", "host", "said"),
    [
        *((SecurityConfig(), host, None) for host in ("127.0.0.1", "::1", "localhost", "unix:/s")),
        *((SecurityConfig(), host, OPEN.format(host)) for host in ("0.0.0.0", "::", "box")),
        (SecurityConfig(), "", OPEN.format("every address")),
        (TLS, "0.0.0.0", "without authentication"),
        (dataclasses.replace(TLS, token_file=Path("t")), "0.0.0.0", None),
        (dataclasses.replace(TLS, client_ca=Path("a")), "0.0.0.0", None),
    ],
)
def test_a_service_that_others_reach_is_told_of_what_is_missed(
    config: SecurityConfig, host: str, said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_exposure(config, host, name="the learner")
    assert [record.levelname for record in caplog.records] == (["WARNING"] if said else [])
    assert (said or "") in caplog.text


def test_a_server_takes_a_certificate_with_its_key(pems: Path) -> None:
    assert server_credentials(SecurityConfig()) is None
    config = SecurityConfig(
        certificate=pems / "cert.pem", private_key=pems / "key.pem", client_ca=pems / "ca.pem"
    )
    assert server_credentials(config) is not None
    chain, key = read_key_pair(pems / "cert.pem", pems / "key.pem")
    assert (chain, key) == ((pems / "cert.pem").read_bytes(), (pems / "key.pem").read_bytes())


@pytest.mark.parametrize(
    ("certificate", "key", "authority", "reason"),
    [
        ("absent.pem", "key.pem", None, "cannot read the certificate .*absent.pem"),
        ("cert.pem", "absent.pem", None, "cannot read the private key .*absent.pem"),
        ("no.pem", "key.pem", None, "no.pem is not a PEM certificate;"),
        ("cert.pem", "no.pem", None, "no.pem is not a PEM private key;"),
        ("cert.pem", "other_key.pem", None, "made for each other"),
        ("cert.pem", "locked_key.pem", None, "has a passphrase; remove it"),
        ("cert.pem", "key.pem", "no.pem", "no.pem is not a PEM certificate authority;"),
        ("cert.pem", "key.pem", "absent.pem", "cannot read the certificate authority"),
    ],
)
def test_files_a_server_cannot_use_are_named(
    pems: Path, certificate: str, key: str, authority: str | None, reason: str
) -> None:
    config = SecurityConfig(
        certificate=pems / certificate,
        private_key=pems / key,
        client_ca=None if authority is None else pems / authority,
    )
    with pytest.raises(UserError, match=reason):
        server_credentials(config)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(ValueError, match="more than 1048576 bytes"):
        read_authorities(huge)


def test_every_line_of_a_token_file_is_a_token(tmp_path: Path) -> None:
    file = write(tmp_path / "tokens", f"  {TOKEN}\r\n\n{TOKEN[::-1]}")
    assert read_tokens(file) == ("0123456789abcdef", "fedcba9876543210")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no token"),
        (" \n\n", "holds no token"),
        ("0123456789abcde", "has 15 characters, at least 16"),
        (f"{TOKEN}\nshort", "has 5 characters"),
        ("0123456789 abcdef", "or spaces"),
        ("0123456789\x07abcdef", "other than visible ASCII"),
        ("0123456789äbcdef", "more than ASCII"),
    ],
)
def test_tokens_that_cannot_be_used_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    file = write(tmp_path / "tokens", text)
    with pytest.raises(UserError, match=reason) as raised:
        TokenCheck(file)
    assert text.strip() == "" or text not in str(raised.value)


def test_a_changed_file_is_read_anew_and_a_bad_one_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path / "number", "1")
    watched = Watched((file,), lambda: int(file.read_text()))
    assert watched.current() == 1
    write(file, "22")
    assert watched.current() == 22
    with caplog.at_level(logging.WARNING):
        write(file, "many")
        assert [watched.current(), watched.current()] == [22, 22]
        warned = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warned) == 1
    write(file, "333")
    assert watched.current() == 333


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        *UNMATCHED,
        ({"token": TOKEN, "token_file": Path("t")}, "both token and token_file"),
        ({"token": "short"}, "token has 5 characters"),
    ],
)
def test_settings_of_a_client_that_do_not_belong_together_are_refused(
    settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        ClientSecurity(**settings)


def test_neither_token_nor_key_shows_in_a_log_line() -> None:
    assert TOKEN not in repr(ClientSecurity(token=TOKEN))


LOCAL = [
    "localhost:50051",
    "127.0.0.1:50051",
    "[::1]:50051",
    "dns:///localhost:50051",
    "ipv4:127.0.0.1:50051,127.0.0.2:50052",
    "ipv6:[::1]:50051",
    "unix:/run/teacher",
    "unix-abstract:teacher",
]
REMOTE = [
    "teacher:50051",
    "10.0.0.1:50051",
    "[2001:db8::1]:50051",
    "dns:///teacher.example:50051",
    "dns://10.0.0.1/localhost:50051",
    "dns:///teacher.example/localhost:50051",
    "dns:teacher.example:443?/localhost:50051",
    "ipv4:8.8.8.8:443#/127.0.0.1:50051",
    "10.0.0.1:443/localhost:50051",
    "ipv4:127.0.0.1:50051,10.0.0.1:50051",
    "xds:///localhost",
    "localhost.example:50051",
    "",
]


@pytest.mark.parametrize("target", LOCAL)
def test_a_client_sends_its_token_unencrypted_to_this_machine(target: str) -> None:
    assert is_local_target(target)


@pytest.mark.parametrize("target", REMOTE)
def test_a_client_refuses_to_send_its_token_unencrypted_elsewhere(target: str) -> None:
    assert not is_local_target(target)
    with pytest.raises(ValueError, match="would travel unencrypted"):
        make_channel(target, ClientSecurity(token=TOKEN))


def test_names_other_than_localhost_are_not_looked_up() -> None:
    assert is_loopback("LocalHost.")
    assert not is_loopback("ip6-loopback")
