"""Where a server cannot listen, the error names the flag that changes the address."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from services.shared.call_limits import ServerLimits
from services.shared.errors import UserError
from services.shared.grpc_server import GrpcServer, ListenAddress

LIMITS = ServerLimits(
    calls=1, calls_per_connection=1, max_request_bytes=1000, max_response_bytes=1000
)


def start(listen: ListenAddress) -> None:
    server = GrpcServer("the clock", "test.Clock", listen, LIMITS, lambda server, workers: None)
    try:
        server.start()
    finally:
        server.stop(0.0)


def test_a_port_that_is_taken_is_told_of_with_its_flag() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listen = ListenAddress(host="127.0.0.1", port=port, port_flag="--control-port")
        with pytest.raises(
            UserError, match=f"clock cannot listen on .*:{port}: it is in use.*--control-port"
        ):
            start(listen)


def test_an_address_of_another_machine_is_not_said_to_be_in_use_alone() -> None:
    # Of TEST-NET-1, RFC 5737: no machine has it.
    listen = ListenAddress(host="192.0.2.1", port=0)
    with pytest.raises(UserError, match="or no address of this machine; .* --host or --port"):
        start(listen)


def test_a_unix_socket_in_a_folder_that_is_missing_is_told_of_with_its_flag(
    tmp_path: Path,
) -> None:
    path = tmp_path / "missing" / "x.sock"
    listen = ListenAddress(host="127.0.0.1", port=0, unix_socket=str(path))
    with pytest.raises(UserError, match=f"unix:{path}: .*folder is missing.*with --unix-socket$"):
        start(listen)
