"""Addresses of services: "host:port", as on the command line and in gRPC targets."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

LARGEST_PORT = 65535

_EXAMPLE_PORT = 50051
_EXAMPLE = f"127.0.0.1:{_EXAMPLE_PORT}"
_NOT_IN_A_HOST = frozenset("/\\@[]?#, \t")


class Address(NamedTuple):
    """Address of a service.

    Attributes:
        host: Name or IP address; an IPv6 address has no brackets.
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
        ValueError: There is no host, no port, or the port is out of range.
    """
    given = text.strip()
    wrong = _what_is_wrong(given)
    if wrong is not None:
        raise ValueError(f"{text!r} is not an address: {wrong}")
    host, _, port = given.rpartition(":")
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= LARGEST_PORT):
        raise ValueError(
            f"port {port!r} in {text!r} is not a number from 1 to {LARGEST_PORT}; write HOST:PORT, "
            f"e.g. {host}:{_EXAMPLE_PORT}"
        )
    return Address(bare_host(host), int(port))


def endpoints(target: str) -> list[str]:
    """The "host:port" texts of a gRPC target: "host:port", "dns://server/host:port", "ipv4:..."."""
    for scheme in ("dns:", "ipv4:", "ipv6:"):
        if target.startswith(scheme):
            target = target.removeprefix(scheme)
            if target.startswith("//"):
                target = target[2:].partition("/")[2]
            break
    # Keep the rest as it is, so that every address that gRPC would connect to is checked.
    return target.split(",")


def bare_host(host: str) -> str:
    """A host to listen on or to connect to, without the brackets that an IPv6 address may have."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _what_is_wrong(given: str) -> str | None:
    """Why a text is not a "host:port"; None if it is one. Does not check the port's range."""
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
