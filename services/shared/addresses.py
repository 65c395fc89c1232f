"""Addresses of services: "host:port", as on the command line and in gRPC targets."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import random
import socket
from pathlib import Path
from typing import NamedTuple

from services.shared.errors import UserError

LARGEST_PORT = 65535

_EXAMPLE_PORT = 50051
_EXAMPLE = f"127.0.0.1:{_EXAMPLE_PORT}"
_NOT_IN_A_HOST = frozenset("/\\@[]?#, \t")

_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST_PORT = 12_000
_USUAL_EPHEMERAL = 32_768
_LEAST_PORTS = 4_000


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
    given = text.strip()
    wrong = _what_is_wrong(given)
    if wrong is not None:
        raise UserError(f"{text!r} is no address: {wrong}")
    host, _, port = given.rpartition(":")
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= LARGEST_PORT):
        raise UserError(
            f"port {port!r} in {text!r} is not a number from 1 to {LARGEST_PORT}; write HOST:PORT, "
            f"e.g. {host}:{_EXAMPLE_PORT}"
        )
    return Address(bare_host(host), int(port))


def bare_host(host: str) -> str:
    """A host to listen on or to connect to, without the brackets that an IPv6 address may have."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _what_is_wrong(given: str) -> str | None:
    """Why a text is no "host:port", whatever its port; None where it is one."""
    host, colon, _ = given.rpartition(":")
    if "://" in given:
        return _url(given)
    if given.isascii() and given.isdigit():
        port = given if 1 <= int(given[:6]) <= LARGEST_PORT else _EXAMPLE_PORT
        return f"it has no host; write HOST:PORT, e.g. 127.0.0.1:{port}"
    if _is_ipv6(bare_host(given)) and bare_host(given) != given:
        return f"it has no port; write HOST:PORT, e.g. {given}:{_EXAMPLE_PORT}"
    if bare_host(host) != host:
        wrong = f"only an IPv6 address stands in brackets; write HOST:PORT, e.g. {_EXAMPLE}"
        return None if _is_ipv6(bare_host(host)) else wrong
    if ":" in host:
        example = format_address(host if _is_ipv6(host) else "::1", _EXAMPLE_PORT)
        return f"an IPv6 address stands in brackets; write HOST:PORT, e.g. {example}"
    if _NOT_IN_A_HOST & {*given} or not given or (colon and not host):
        return f"write HOST:PORT, e.g. {_EXAMPLE}"
    return None if colon else f"it has no port; write HOST:PORT, e.g. {given}:{_EXAMPLE_PORT}"


def _url(given: str) -> str:
    scheme, _, rest = given.partition("://")
    host = rest.partition("/")[0].rpartition("@")[2] or "127.0.0.1"
    example = host if ":" in host else f"{host}:{_EXAMPLE_PORT}"
    return f"leave {scheme + '://'!r} out and write HOST:PORT, e.g. {example}"


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def free_port() -> int:
    """A TCP port that was free a moment ago, as `free_ports` gives."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """TCP ports that were free a moment ago, on all interfaces.

    They lie below the kernel's ephemeral ports: an outgoing connection could take one of those
    before the server that it is for has started.

    Raises:
        RuntimeError: there are not so many.
    """
    # Not of a seed: runs may start side by side.
    candidates = random.SystemRandom().sample(_ports_of_servers(), 8 * count)
    found = list(itertools.islice(filter(_is_free, candidates), count))
    if len(found) < count:
        raise RuntimeError(f"only {len(found)} of {count} ports are free")
    return found


def _ports_of_servers() -> range:
    try:
        behind = int(_EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        behind = _USUAL_EPHEMERAL
    if behind - _FIRST_PORT < _LEAST_PORTS:
        # The ephemeral range covers nearly all ports.
        behind = _USUAL_EPHEMERAL
    return range(_FIRST_PORT, behind)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


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
