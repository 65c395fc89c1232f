"""Prometheus metrics over HTTP, on their own port.

Each service has its own registry, so that two services in one process (as in tests) do not share
counters. Names are `rrl_<role>_<what>_<unit>`; counters start with the process.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias, cast

import waitress.server
from prometheus_client import CollectorRegistry, Info, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from waitress.wasyncore import close_all

from rrl_client.addresses import Address
from services.shared.addresses import check_port_is_free

Labels: TypeAlias = str | tuple[str, ...]
"""One or several labels, or their values."""

_PAGE_THREADS = 2
_MOST_CONNECTIONS = 64
"""Most connections at once; further ones wait."""
_IDLE_SECONDS = 5
_MOST_REQUEST_BYTES = 2**14


def make_registry(role: str, run: str | None) -> CollectorRegistry:
    """A role's registry: its process's metrics, and `rrl_<role>_info`, which names the run.

    Args:
        role: Kind of role, as in the names of its metrics, e.g. "actor".
        run: Name of its run; None shows "" on the page.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    info = Info(f"rrl_{role}", "Whose process this is.", registry=registry)
    info.info({"run": run or ""})
    return registry


@contextlib.contextmanager
def serving_metrics(
    registry: CollectorRegistry, *, host: str, port: int | None
) -> Iterator[Address | None]:
    """Serve a registry until the block ends; yields the page's address.

    Args:
        registry: The registry to serve.
        host: Address to listen on.
        port: TCP port; None serves no page.

    Raises:
        UserError: The port is in use, or the host is not this machine.
    """
    server = MetricsServer(registry, host=host, port=port) if port is not None else None
    try:
        yield Address(host, server.port) if server is not None else None
    finally:
        if server is not None:
            server.close()


def gauge(name: str, text: str, value: float | None) -> Metric:
    """A gauge; left out of the page while it is None."""
    return gauges(name, text, (), {} if value is None else {(): value})


def gauges(name: str, text: str, labels: Labels, values: Mapping[Any, float]) -> Metric:
    """Gauges by the value of a label, or of several."""
    return _filled(GaugeMetricFamily(name, text, labels=_several(labels)), values)


def counter(name: str, text: str, value: float) -> Metric:
    """A counter; its name on the page ends in `_total`."""
    return counters(name, text, (), {(): value})


def counters(name: str, text: str, labels: Labels, values: Mapping[Any, float]) -> Metric:
    """Counters by the value of a label, or of several."""
    return _filled(CounterMetricFamily(name, text, labels=_several(labels)), values)


def _filled(family: Any, values: Mapping[Any, float]) -> Metric:
    for key, value in values.items():
        family.add_metric(_several(key), value)
    return cast(Metric, family)


def _several(labels: Labels) -> tuple[str, ...]:
    return (labels,) if isinstance(labels, str) else labels


class CumulativeIncrease:
    """The sum of all increases of a number that may also decrease.

    A run that restores a checkpoint sets its clocks back. Prometheus would treat the decreased
    counter as reset to 0 and count its whole value as an increase.
    """

    def __init__(self) -> None:
        self._last: float | None = None
        self.total = 0.0

    def observe(self, value: float) -> float:
        """Add the increase over the previous value, the first being the base; returns the total."""
        if self._last is not None and value > self._last:
            self.total += value - self._last
        self._last = value
        return self.total

    def rebase(self, value: float) -> None:
        """Set a new base, without an increase."""
        self._last = value


class MetricsServer:
    """Serves one registry at http://host:port/metrics until closed.

    Silent connections take no threads, and descriptors only briefly: the page is a role's least
    important task.
    """

    def __init__(
        self, registry: CollectorRegistry, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        """Start serving.

        Args:
            registry: The registry to serve.
            host: Address to listen on; loopback unless other machines should read the page.
            port: TCP port; 0 picks a free one.

        Raises:
            UserError: The port is in use, or the host is not this machine.
        """
        check_port_is_free(host, port, purpose="the metrics page", flag="--metrics-port")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # "::" stands for every address, IPv4 as well.
        is_both = host == "::" and socket.has_dualstack_ipv6()
        listener = socket.create_server((host, port), family=family, dualstack_ipv6=is_both)
        self.port: int = listener.getsockname()[1]
        self._sockets: dict[int, Any] = {}
        self._server: Any = waitress.server.create_server(
            make_wsgi_app(registry),
            map=self._sockets,
            sockets=[listener],
            threads=_PAGE_THREADS,
            connection_limit=_MOST_CONNECTIONS,
            channel_timeout=_IDLE_SECONDS,
            cleanup_interval=1,
            # `select` fails in a process with a thousand descriptors.
            asyncore_use_poll=True,
            # Requests to this page have no body.
            max_request_header_size=_MOST_REQUEST_BYTES,
            max_request_body_size=_MOST_REQUEST_BYTES,
        )
        self._thread = threading.Thread(target=self._server.run, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and free the port; a second call does nothing."""
        left: dict[int, Any] = {}

        def forget() -> None:
            # A loop without sockets ends. Close them after it and after the answering threads,
            # which may still write to the loop's pipe.
            left.update(self._sockets)
            self._sockets.clear()

        if self._thread.is_alive():
            self._server.trigger.pull_trigger(forget)
            self._thread.join()
        forget()
        self._server.task_dispatcher.shutdown()
        close_all(left, ignore_all=True)
