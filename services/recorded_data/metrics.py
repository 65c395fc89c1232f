"""What the importer of recorded data shows to Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from services.shared.metrics import counter, gauge


class ImporterMetrics(Collector):
    """The importer's part of a page; one thread counts.

    Args:
        registry: Where it goes; holds no other importer's metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._rows = 0
        self._in_table: int | None = None
        self._target: int | None = None
        registry.register(self)

    def set_target(self, transitions: int) -> None:
        """Note how many transitions the table is to hold."""
        self._target = transitions

    def set_in_table(self, transitions: int) -> None:
        """Note how many transitions the table holds."""
        self._in_table = transitions

    def count_written(self, transitions: int) -> None:
        """Count transitions that the table has confirmed."""
        self._rows += transitions
        self._in_table = (self._in_table or 0) + transitions

    def collect(self) -> Iterator[Metric]:
        """The page's content."""
        yield counter("rrl_importer_rows", "Transitions put into the table.", self._rows)
        yield gauge("rrl_importer_rows_in_table", "Transitions in the table.", self._in_table)
        yield gauge("rrl_importer_rows_target", "Transitions it is to hold.", self._target)
