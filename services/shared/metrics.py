"""Prometheus metrics over HTTP, on a port of their own.

A registry is made per service and handed on: two services in one process (as in tests) must not
share counters.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from services.shared.addresses import check_port_is_free

_POLL_SECONDS = 0.05


class MetricsServer:
    """Serves one registry at http://host:port/metrics until closed."""

    def __init__(
        self, registry: CollectorRegistry, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        """Start serving.

        Args:
            registry: What is served.
            host: Address to listen on; loopback unless others are meant to read.
            port: TCP port; 0 takes a free one.

        Raises:
            UserError: The port is taken or the host is not ours.
        """
        check_port_is_free(host, port, purpose="the metrics page", flag="--metrics-port")
        server_class = _Ipv6Server if ":" in host else _Server
        self._server = server_class((host, port), _QuietHandler)
        self._server.set_app(make_wsgi_app(registry))
        # prometheus_client's own thread looks for its end twice a second; a stop is not to wait.
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="metrics", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The TCP port listened on."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Ipv6Server(_Server):
    address_family = socket.AF_INET6


class _QuietHandler(WSGIRequestHandler):
    """Writes no line per scrape."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
