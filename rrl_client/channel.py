"""How clients of the teacher connect: targets of one or several replicas, retries, keep-alive.

Replicas that are given one by one have a channel each. Replicas behind one DNS name share a
channel, over which gRPC distributes streams by the service config below. `dispatch` assigns queries
to streams.
"""

from __future__ import annotations

import functools
import json
import socket
from collections.abc import Callable, Sequence
from typing import Any

from rrl_client.addresses import endpoints, parse_address

LARGEST_ATTEMPTS = 5
"""Most times that a query is sent."""

FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 2.0
BACKOFF_FACTOR = 2.0

_LISTS = ("ipv4:", "ipv6:")
_SCHEMES = ("dns:", "unix:", "unix-abstract:", *_LISTS, "xds:")
_NAMES_WITHOUT_PORT = ("unix:", "unix-abstract:", "xds:")
_SERVICE = "rrl.teacher.v1.Teacher"

EVALUATE_HEALTH_NAME = f"{_SERVICE}.Evaluate"
"""Name in the health service that says whether queries are answered. It stays SERVING during the
lame duck period, in which the server as a whole is NOT_SERVING: so clients with one replica keep it
as long as possible, and clients with several lose no query."""

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    # gRPC watches the health of each replica, and sends no new streams to one that is not serving.
    "healthCheckConfig": {"serviceName": EVALUATE_HEALTH_NAME},
}

FLOW_CONTROL: tuple[tuple[str, Any], ...] = (
    # By default gRPC measures each connection's bandwidth with a ping for most messages, which
    # costs more than a small message itself. Instead, allow this many bytes in flight.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 4 * 2**20),
)
"""Channel arguments of both sides; messages have a few MiB at most, so measuring is not needed."""

CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # By default, all clients of a process share one connection per address.
    ("grpc.use_local_subchannel_pool", 1),
    # By default gRPC waits up to two minutes between attempts; a restarted teacher is back sooner.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # If all replicas are replaced, they have new addresses; the default of 30 s would be too long.
    ("grpc.dns_min_time_between_resolutions_ms", 5000),
    # Detects a machine that vanished during a call.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # By default, newer gRPC waits a minute for a ping, and older gRPC sends only one per minute.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    *FLOW_CONTROL,
)


def backoff_seconds(attempts: int, retry_after_seconds: float | None = None) -> float:
    """Seconds to wait before a retry.

    Args:
        attempts: Attempts so far, at least 1.
        retry_after_seconds: The teacher's retry delay, which is used for the first retry and grows
            with each further one; None for the default.
    """
    first = FIRST_BACKOFF_SECONDS if retry_after_seconds is None else retry_after_seconds
    longest = max(LONGEST_BACKOFF_SECONDS, first)
    # A bounded exponent keeps the power finite after any number of attempts.
    return min(first * BACKOFF_FACTOR ** min(attempts - 1, 30), longest)


def parse_addresses(addresses: str | Sequence[str]) -> tuple[str, ...]:
    """Parse the addresses of replicas.

    Args:
        addresses: One address, several separated by commas, or a sequence of them.

    Raises:
        ValueError: There is no address, or one is invalid.
    """
    if isinstance(addresses, str):
        # "ipv4:a:1,b:2" is one target of several addresses.
        given = [addresses] if addresses.strip().startswith(_LISTS) else addresses.split(",")
    else:
        given = [*addresses]
    found = tuple(dict.fromkeys(address.strip() for address in given))
    if not found or not all(found):
        raise ValueError(f"addresses are {addresses!r}; give HOST:PORT, or several of them")
    for address in found:
        _check_address(address)
        if len(found) > 1 and address.startswith(_SCHEMES):
            raise ValueError(
                f"{address!r} cannot be one of several replicas; give HOST:PORT for each"
            )
    return found


def _check_address(address: str) -> None:
    """Check an address, since gRPC would only report that it cannot connect."""
    nameless = next((scheme for scheme in _NAMES_WITHOUT_PORT if address.startswith(scheme)), None)
    if nameless is not None:
        if not address.removeprefix(nameless).strip("/"):
            raise ValueError(f"{address!r} names nothing; write e.g. {nameless}/run/rrl/teacher")
        return
    for endpoint in endpoints(address):
        try:
            parse_address(endpoint)
        except ValueError as error:
            where = "" if endpoint == address else f" (in {address!r})"
            raise ValueError(f"{error}{where}") from error


def count_replicas(address: str) -> int:
    """Number of servers that an address's DNS name resolves to now, at least 1."""
    if not address.startswith("dns:"):
        return 1
    host, _, port = endpoints(address)[0].rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        # gRPC resolves the name itself, repeatedly, and reports errors.
        return 1
    return len({target for *_, target in found})


def counted(addresses: Sequence[str]) -> Callable[[], int] | None:
    """A function that counts the replicas of a client; None if their number is fixed."""
    if len(addresses) > 1 or not addresses[0].startswith("dns:"):
        return None
    return functools.partial(count_replicas, addresses[0])
