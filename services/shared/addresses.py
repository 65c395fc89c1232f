"""Addresses of services: "host:port", as on the command line and in gRPC targets."""

from __future__ import annotations

import contextlib
import socket
from typing import NamedTuple

from services.shared.errors import UserError

LARGEST_PORT = 65535


class Address(NamedTuple):
    """Where a service listens.

    Attributes:
        host: Name or IP address; an IPv6 address stands without brackets.
        port: TCP port, 1 to 65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        """The "host:port" form, IPv6 in brackets."""
        return format_address(self.host, self.port)


def format_address(host: str, port: int) -> str:
    """Join host and port into "host:port"; an IPv6 host gets brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str) -> Address:
    """Read "host:port" or "[ipv6]:port".

    Raises:
        UserError: There is no host, no port, or the port is out of range.
    """
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or not host or (":" in host and not bracketed):
        raise UserError(f"{text!r} is no address; write HOST:PORT, e.g. 127.0.0.1:50051")
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= LARGEST_PORT):
        raise UserError(f"port {port!r} in {text!r} is not a number from 1 to {LARGEST_PORT}")
    return Address(host, int(port))


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that was free a moment ago; another process may take it before it is used."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        return int(listener.getsockname()[1])


def check_port_is_free(host: str, port: int, *, purpose: str, flag: str) -> None:
    """Say in one line why a server could not listen, before it tries.

    Args:
        host: Name or address to listen on.
        port: TCP port; 0 lets the system choose and always passes.
        purpose: Who wants the port, e.g. "the teacher service".
        flag: The setting that changes it, e.g. "--port".

    Raises:
        UserError: The port is taken, out of range or forbidden, or the host is not ours.
    """
    if not 0 <= port <= LARGEST_PORT:
        raise UserError(f"{flag} is {port}; a port is a number from 0 (any free one) to 65535")
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with contextlib.closing(socket.socket(family, kind, protocol)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(target)
    except OSError as error:
        raise UserError(
            f"{purpose} cannot listen on {format_address(host, port)} ({error.strerror or error}); "
            f"choose another {flag}, or stop what listens there"
        ) from error
