from __future__ import annotations

import socket
from pathlib import Path

import pytest

from rrl_client.addresses import Address, bare_host
from services.shared import addresses
from services.shared.addresses import check_port_is_free, free_port, free_ports, parse_address
from services.shared.errors import UserError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:50051", "127.0.0.1", 50051), ("teacher:1", "teacher", 1), ("[::1]:80", "::1", 80)],
)
def test_an_address_is_read_and_written_back_alike(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text", ["", "teacher", ":50051", "teacher:", "teacher:0", "teacher:65536", "::1:80", "a:-1"]
)
def test_what_is_no_address_is_refused_with_what_was_found(text: str) -> None:
    with pytest.raises(UserError, match="HOST:PORT|65535"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("50784", "no host.*127.0.0.1:50784"),
        ("teacher", "no port.*teacher:50051"),
        ("[::1]", r"no port.*\[::1\]:50051"),
        ("::1:p", r"IPv6 address stands in brackets.*\[::1\]:50051"),
        ("fe80::7:50051", r"IPv6 address stands in brackets.*\[fe80::7\]:50051"),
        ("[teacher]:50051", "only an IPv6 address stands in brackets"),
        ("http://teacher", "leave 'http://' out.*teacher:50051"),
        ("https://teacher:443/v1", "leave 'https://' out.*teacher:443"),
        ("teacher/v1:50051", "127.0.0.1:50051"),
        ("teacher:grpc", "'grpc'.*teacher:50051"),
        ("teacher:99999999999999999999", "65535"),
    ],
)
def test_a_refusal_shows_what_is_wrong_and_an_address_as_it_should_be(
    text: str, reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        parse_address(text)


def test_a_host_may_stand_in_brackets_or_without() -> None:
    assert [bare_host(host) for host in ("[::1]", "::1", "teacher")] == ["::1", "::1", "teacher"]


def test_a_taken_port_is_named_together_with_the_flag_that_changes_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port}.*--port"):
            check_port_is_free("127.0.0.1", port, purpose="the teacher", flag="--port")


def test_a_free_port_passes() -> None:
    check_port_is_free("127.0.0.1", free_port(), purpose="the teacher", flag="--port")


@pytest.mark.parametrize(
    ("ephemeral", "below"), [("20000\t60999", 20_000), ("1024\t65535", 32_768), ("", 32_768)]
)
def test_free_ports_differ_and_are_below_the_ephemeral_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ephemeral: str, below: int
) -> None:
    (tmp_path / "range").write_text(ephemeral)
    monkeypatch.setattr(addresses, "_EPHEMERAL_RANGE", tmp_path / "range")
    found = free_ports(50)
    assert len(set(found)) == 50
    assert max(found) < below
    for port in found:
        check_port_is_free("127.0.0.1", port, purpose="the teacher", flag="--port")


def test_a_host_that_is_not_ours_is_refused() -> None:
    # 192.0.2.0/24 is reserved for documentation (RFC 5737): no machine has it.
    with pytest.raises(UserError, match="192.0.2.1"):
        check_port_is_free("192.0.2.1", 0, purpose="the teacher", flag="--host")
