"""Parses addresses of the command line, and finds free ports."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
from pathlib import Path

from rrl_client import addresses
from rrl_client.addresses import LARGEST_PORT, Address, format_address
from services.shared.errors import UserError, user_errors

_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST_PORT = 12_000
_USUAL_EPHEMERAL = 32_768
_LEAST_PORTS = 4_000


def parse_address(text: str) -> Address:
    """Read "host:port" or "[ipv6]:port".

    Raises:
        UserError: The host or the port is missing, or the port is out of range.
    """
    with user_errors():
        return addresses.parse_address(text)


def free_port() -> int:
    """A TCP port that was free a moment ago, from `free_ports`."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """TCP ports that were free a moment ago, on all interfaces.

    They lie below the kernel's ephemeral ports, which an outgoing connection could take before the
    server has started.

    Raises:
        RuntimeError: there are not enough.
    """
    # Without a seed, because runs may start at the same time.
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
    """Check that a server can listen, and otherwise say why in one line.

    Args:
        host: Name or address to listen on.
        port: TCP port; 0 lets the system choose and always passes.
        purpose: Name of the server, e.g. "the teacher service".
        flag: The setting that changes it, e.g. "--port".

    Raises:
        UserError: The port is in use, out of range or forbidden, or the host is not this machine.
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
