from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme

from rrl_client.loop_thread import LoopThread
from services.cli.health import health
from services.cli.peers import Peers
from services.shared.addresses import free_port
from services.shared.errors import UserError
from services.shared.health import Health


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/metrics" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def page() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Service:
    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self._loop = LoopThread("test")
        self.health = Health(["rrl.test.v1.Test"])
        self.address = self._loop.run(self._start(credentials))

    async def _start(self, credentials: grpc.ServerCredentials | None) -> str:
        self._server = grpc.aio.server()
        self.health.add_to(self._server)
        port = (
            self._server.add_insecure_port("127.0.0.1:0")
            if credentials is None
            else self._server.add_secure_port("127.0.0.1:0", credentials)
        )
        await self._server.start()
        return f"127.0.0.1:{port}"

    def serve(self) -> None:
        self._loop.loop.call_soon_threadsafe(self.health.set_serving, True)

    def stop(self) -> None:
        self._loop.run(self._server.stop(None))
        self._loop.close()


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()
    yield running
    running.stop()


def test_a_service_that_serves_is_well(service: Service) -> None:
    service.serve()
    health(service.address)


def test_a_service_that_does_not_serve_yet_is_not_well(service: Service) -> None:
    with pytest.raises(SystemExit, match="does not serve"):
        health(service.address)


def test_nobody_is_not_well() -> None:
    with pytest.raises(SystemExit, match="does not serve"):
        health(f"127.0.0.1:{free_port()}", timeout_seconds=0.5)


def test_a_service_with_tls_is_asked_over_tls(tmp_path: Path) -> None:
    authority, roots = trustme.CA(), tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(str(roots))
    own = authority.issue_cert("127.0.0.1")
    credentials = grpc.ssl_server_credentials(
        [(own.private_key_pem.bytes(), own.cert_chain_pems[0].bytes())]
    )
    running = Service(credentials)
    try:
        running.serve()
        health(running.address, peers=Peers(root_certificates=roots))
        with pytest.raises(SystemExit):
            health(running.address, timeout_seconds=0.5)
    finally:
        running.stop()


def test_a_page_that_is_there_is_well_and_another_is_not(page: str) -> None:
    health(http=f"{page}/metrics")
    with pytest.raises(SystemExit):
        health(http=f"{page}/nothing")


def test_a_page_of_nobody_is_not_well() -> None:
    with pytest.raises(SystemExit):
        health(http=f"http://127.0.0.1:{free_port()}/metrics")


def test_what_cannot_be_asked_is_said() -> None:
    with pytest.raises(UserError, match="either"):
        health()
    with pytest.raises(UserError, match="either"):
        health("127.0.0.1:1", http="http://127.0.0.1:1")
    with pytest.raises(UserError, match="http://"):
        health(http="file:///etc/hostname")
    with pytest.raises(UserError, match="above 0"):
        health("127.0.0.1:1", timeout_seconds=0)
    with pytest.raises(UserError, match="HOST:PORT"):
        health("nonsense")
    with pytest.raises(UserError, match="no-such-file"):
        health("127.0.0.1:1", peers=Peers(root_certificates=Path("no-such-file")))
