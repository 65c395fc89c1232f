"""`rrl health`: a role's health as an exit code, for container health checks."""

from __future__ import annotations

from tyro.conf import Positional

from services.cli.metrics_pages import fetch, page_address
from services.cli.peers import Peers
from services.shared.addresses import parse_address
from services.shared.errors import UserError
from services.shared.health import is_serving


def health(
    address: Positional[str | None] = None,
    *,
    http: str | None = None,
    timeout_seconds: float = 3.0,
    peers: Peers = Peers(),  # noqa: B008 - frozen
) -> None:
    """Check whether a role is serving: exit code 0 if it is, 1 if not.

    Give HOST:PORT of the teacher, the learner or replay's control service, which answer gRPC health
    checks (grpc.health.v1). For the other roles give --http with their metrics page.

    Args:
        address: HOST:PORT of a gRPC service.
        http: URL of a metrics page, http://HOST:PORT/metrics, instead of HOST:PORT.
        timeout_seconds: Seconds to wait for the answer.
        peers: TLS and credentials for the service at HOST:PORT.
    """
    if (address is None) == (http is None):
        raise UserError("give either HOST:PORT of a gRPC service, or --http URL")
    if not timeout_seconds > 0:
        raise UserError(f"--timeout-seconds is {timeout_seconds}; give a number above 0")
    if http is not None:
        try:
            fetch(page_address(http), timeout_seconds=timeout_seconds)
        except (OSError, ValueError) as error:
            raise SystemExit(f"{http} is not serving: {error}") from error
        return
    target = str(parse_address(address or ""))
    security = peers.security(target)
    if not is_serving(target, timeout_seconds=timeout_seconds, security=security):
        raise SystemExit(f"{address} is not serving")
