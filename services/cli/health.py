"""`rrl health`: whether a role works, as an exit code, for the health checks of containers."""

from __future__ import annotations

import urllib.error
import urllib.request
from http import HTTPStatus

import tyro

from services.cli.peers import Peers
from services.shared.addresses import parse_address
from services.shared.errors import UserError
from services.shared.health import is_serving


def health(
    address: tyro.conf.Positional[str | None] = None,
    *,
    http: str | None = None,
    timeout_seconds: float = 3.0,
    peers: Peers = Peers(),  # noqa: B008 - frozen
) -> None:
    """Ask a role whether it serves; exit with 0 if so and 1 if not.

    Teacher, learner and replay's control answer gRPC health checks (grpc.health.v1). Of the other
    roles the metrics page is asked for.

    Args:
        address: HOST:PORT of a gRPC service.
        http: URL of a page, instead of an address.
        timeout_seconds: How long the answer may take.
        peers: Encryption, where the service asks for it.
    """
    if (address is None) == (http is None):
        raise UserError("give either HOST:PORT of a gRPC service, or --http URL")
    if not timeout_seconds > 0:
        raise UserError(f"--timeout-seconds is {timeout_seconds}; give a number above 0")
    if http is not None:
        well = _is_there(http, timeout_seconds)
    else:
        target = str(parse_address(address or ""))
        well = is_serving(target, timeout_seconds=timeout_seconds, security=peers.security(target))
    if not well:
        raise SystemExit(f"{http or address} does not serve")


def _is_there(url: str, timeout_seconds: float) -> bool:
    """Whether a page answers with 200; nothing is read of it."""
    if not url.startswith(("http://", "https://")):
        raise UserError(f"--http {url}: give a URL that begins with http:// or https://")
    # Asked is always a neighbour: what the environment says of proxies is not for it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout_seconds) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except (urllib.error.URLError, OSError, ValueError):
        return False
