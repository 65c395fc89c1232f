"""Prometheus metrics over HTTP, on a port of their own.

A registry is made per service and handed on: two services in one process (as in tests) must not
share counters. Names are `rrl_<role>_<what>_<unit>`; counters count since their process began.
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
"""A label, or several; or their values."""

_PAGE_THREADS = 2
_MOST_CONNECTIONS = 64
"""Further ones wait until one of these ends."""
_IDLE_SECONDS = 5
_MOST_REQUEST_BYTES = 2**14


def make_registry(role: str, run: str | None) -> CollectorRegistry:
    """A registry for one role: its process's metrics, and `rrl_<role>_info` that names the run.

    Args:
        role: Kind of role, as in the names of its metrics, e.g. "actor".
        run: Name of its run, "" on the page where none was given.
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
    """Serve a registry within the context; yields the page's address.

    Args:
        registry: What is served.
        host: Address to listen on.
        port: TCP port; None serves nothing.

    Raises:
        UserError: The port is taken or the host is not ours.
    """
    server = MetricsServer(registry, host=host, port=port) if port is not None else None
    try:
        yield Address(host, server.port) if server is not None else None
    finally:
        if server is not None:
            server.close()


def gauge(name: str, text: str, value: float | None) -> Metric:
    """A number that may fall; not on the page while it is None."""
    return gauges(name, text, (), {} if value is None else {(): value})


def gauges(name: str, text: str, labels: Labels, values: Mapping[Any, float]) -> Metric:
    """Numbers that may fall, by the value of a label or by the values of several."""
    return _filled(GaugeMetricFamily(name, text, labels=_several(labels)), values)


def counter(name: str, text: str, value: float) -> Metric:
    """A number that only rises; its name on the page ends in `_total`."""
    return counters(name, text, (), {(): value})


def counters(name: str, text: str, labels: Labels, values: Mapping[Any, float]) -> Metric:
    """Numbers that only rise, by the value of a label or by the values of several."""
    return _filled(CounterMetricFamily(name, text, labels=_several(labels)), values)


def _filled(family: Any, values: Mapping[Any, float]) -> Metric:
    for key, value in values.items():
        family.add_metric(_several(key), value)
    return cast(Metric, family)


def _several(labels: Labels) -> tuple[str, ...]:
    return (labels,) if isinstance(labels, str) else labels


class CumulativeIncrease:
    """The sum of all increases of a number that may fall.

    A run that goes back to a checkpoint has its clocks go back. Prometheus takes a counter that
    falls for one that restarted from 0, and would count the whole number as an increase.
    """

    def __init__(self) -> None:
        self._last: float | None = None
        self.total = 0.0

    def observe(self, value: float) -> float:
        """Add a value's increase over the one before; the first is the base. Returns the total."""
        if self._last is not None and value > self._last:
            self.total += value - self._last
        self._last = value
        return self.total

    def rebase(self, value: float) -> None:
        """Set a new base, which counts as no increase."""
        self._last = value


class MetricsServer:
    """Serves one registry at http://host:port/metrics until closed.

    Connections that say nothing take neither threads nor, for long, descriptors: the page is the
    least of what a role does.
    """

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
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # "::" is every address, of the older kind, too.
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
            # `select` breaks down where a process has a thousand descriptors.
            asyncore_use_poll=True,
            # No request to this page has a body.
            max_request_header_size=_MOST_REQUEST_BYTES,
            max_request_body_size=_MOST_REQUEST_BYTES,
        )
        self._thread = threading.Thread(target=self._server.run, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and free the port; a second call does nothing."""
        left: dict[int, Any] = {}

        def forget() -> None:
            # A loop without sockets ends. They are closed after it, and after the threads that
            # answer: any of these may still write to the loop's own pipe.
            left.update(self._sockets)
            self._sockets.clear()

        if self._thread.is_alive():
            self._server.trigger.pull_trigger(forget)
            self._thread.join()
        forget()
        self._server.task_dispatcher.shutdown()
        close_all(left, ignore_all=True)
