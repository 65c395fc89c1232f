"""How clients of the teacher connect: targets of one or several replicas, retries, keep-alive.

Replicas that are given one by one have a channel each. Those behind one name share a channel, over
which gRPC spreads streams by the service config below. What becomes of a query is `dispatch`'s.
"""

from __future__ import annotations

import functools
import json
import socket
from collections.abc import Callable, Sequence
from typing import Any

from rrl_client.addresses import endpoints, parse_address

LARGEST_ATTEMPTS = 5
"""How often a query is sent at most."""

FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 2.0
BACKOFF_FACTOR = 2.0

_LISTS = ("ipv4:", "ipv6:")
_SCHEMES = ("dns:", "unix:", "unix-abstract:", *_LISTS, "xds:")
_NAMES_WITHOUT_PORT = ("unix:", "unix-abstract:", "xds:")
_SERVICE = "rrl.teacher.v1.Teacher"

EVALUATE_HEALTH_NAME = f"{_SERVICE}.Evaluate"
"""The health service's name for whether queries are answered, which outlasts SERVING by a lame
duck's time: a client with one replica stays as long as it can, one with several loses nothing."""

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    # gRPC watches the health of every replica: one that warms up or drains is asked nothing new.
    "healthCheckConfig": {"serviceName": EVALUATE_HEALTH_NAME},
}

FLOW_CONTROL: tuple[tuple[str, Any], ...] = (
    # gRPC measures each connection's bandwidth with a ping for most messages, which costs more than
    # a small message itself. Without that, this many bytes may be on their way.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 4 * 2**20),
)
"""Channel arguments of both sides: with messages of at most some MiB nothing is to be measured."""

CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # Clients share nothing: gRPC would have all that ask one address use one connection.
    ("grpc.use_local_subchannel_pool", 1),
    # gRPC waits up to two minutes between attempts to connect; a restarted teacher is back sooner.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Replicas that were all replaced have new addresses; half a minute would be too long without.
    ("grpc.dns_min_time_between_resolutions_ms", 5000),
    # A machine that vanished while a call is under way is noticed, not waited for.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Else newer gRPC gives a check a minute, and older checks but once a minute.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    *FLOW_CONTROL,
)


def backoff_seconds(attempts: int, retry_after_seconds: float | None = None) -> float:
    """How long to wait before asking again.

    Args:
        attempts: How often it was asked, at least 1.
        retry_after_seconds: What the teacher says; believed the first time, then less and less.
    """
    first = FIRST_BACKOFF_SECONDS if retry_after_seconds is None else retry_after_seconds
    longest = max(LONGEST_BACKOFF_SECONDS, first)
    # The bounded exponent keeps the power finite, however long a teacher is away.
    return min(first * BACKOFF_FACTOR ** min(attempts - 1, 30), longest)


def parse_addresses(addresses: str | Sequence[str]) -> tuple[str, ...]:
    """The replicas' addresses.

    Args:
        addresses: One address, several with commas between them, or a sequence of them.

    Raises:
        ValueError: There is none, or one that is not as above.
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
    """See that it can be one before gRPC tries, which says only that it does not get there."""
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
    """How many servers stand behind an address: those its DNS name resolves to now, at least 1."""
    if not address.startswith("dns:"):
        return 1
    host, _, port = endpoints(address)[0].rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        # gRPC looks the name up itself, again and again, and says what is wrong with it.
        return 1
    return len({target for *_, target in found})


def counted(addresses: Sequence[str]) -> Callable[[], int] | None:
    """What counts the replicas of a client; None where their number is fixed."""
    if len(addresses) > 1 or not addresses[0].startswith("dns:"):
        return None
    return functools.partial(count_replicas, addresses[0])
