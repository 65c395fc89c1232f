from __future__ import annotations

import socket

import pytest

from services.shared.addresses import Address, check_port_is_free, free_port, parse_address
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


def test_a_taken_port_is_named_together_with_the_flag_that_changes_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port}.*--port"):
            check_port_is_free("127.0.0.1", port, purpose="the teacher", flag="--port")


def test_a_free_port_passes() -> None:
    check_port_is_free("127.0.0.1", free_port(), purpose="the teacher", flag="--port")


def test_a_host_that_is_not_ours_is_refused() -> None:
    # 192.0.2.0/24 is reserved for documentation (RFC 5737): no machine has it.
    with pytest.raises(UserError, match="192.0.2.1"):
        check_port_is_free("192.0.2.1", 0, purpose="the teacher", flag="--host")
