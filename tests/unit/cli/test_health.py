from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from prometheus_client import CollectorRegistry

from services.cli.health import health
from services.cli.peers import Peers
from services.shared.addresses import free_port
from services.shared.call_limits import ServerLimits
from services.shared.errors import UserError
from services.shared.grpc_server import GrpcServer, ListenAddress
from services.shared.metrics import MetricsServer
from services.shared.security.server import SecurityConfig

PLAIN = SecurityConfig()
LIMITS = ServerLimits(
    calls=9, calls_per_connection=9, max_request_bytes=1000, max_response_bytes=1000
)


@contextlib.contextmanager
def service(security: SecurityConfig = PLAIN, *, serves: bool = True) -> Iterator[str]:
    """Address of a gRPC service that has nothing but health."""
    listen = ListenAddress(host="127.0.0.1", port=0, security=security)
    server = GrpcServer("it", "rrl.v1.It", listen, LIMITS, lambda *_: None, serves_at_once=serves)
    yield f"127.0.0.1:{server.start()}"
    server.stop(0.0)


def test_a_service_is_well_when_it_serves() -> None:
    with service() as address:
        health(address)
    with service(serves=False) as address, pytest.raises(SystemExit, match="is not serving"):
        health(address)


def test_a_service_with_tls_is_asked_over_tls(tmp_path: Path) -> None:
    authority, roots = trustme.CA(), tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(str(roots))
    own, chain, key = authority.issue_cert("127.0.0.1"), tmp_path / "chain", tmp_path / "key"
    own.cert_chain_pems[0].write_to_path(str(chain))
    own.private_key_pem.write_to_path(str(key))
    with service(SecurityConfig(certificate=chain, private_key=key)) as address:
        health(address, peers=Peers(root_certificates=roots))
        with pytest.raises(SystemExit):
            health(address, timeout_seconds=0.5)


def test_a_metrics_page_that_answers_is_well() -> None:
    page = MetricsServer(CollectorRegistry())
    health(http=f"http://127.0.0.1:{page.port}/metrics")
    page.close()


def test_nobody_is_not_well() -> None:
    with pytest.raises(SystemExit, match="is not serving"):
        health(f"127.0.0.1:{free_port()}", timeout_seconds=0.5)
    with pytest.raises(SystemExit, match="is not serving"):
        health(http=f"http://127.0.0.1:{free_port()}/metrics")


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({}, "either"),
        ({"address": "127.0.0.1:1", "http": "http://127.0.0.1:1"}, "either"),
        ({"http": "file:///etc/hostname"}, "is not a metrics page; write http://HOST:PORT/metrics"),
        ({"address": "127.0.0.1:1", "timeout_seconds": 0}, "above 0"),
        ({"address": "nonsense"}, "HOST:PORT"),
        ({"address": "[::1]:1", "peers": Peers(root_certificates=Path("no-file"))}, "no-file"),
    ],
)
def test_what_cannot_be_asked_is_said(flags: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        health(**flags)
