"""Prometheus metrics of the importer."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from services.shared.metrics import counter, gauge


class ImporterMetrics(Collector):
    """The importer's metrics; one thread counts.

    Args:
        registry: The registry, without another importer's metrics.

    Attributes:
        in_table: Transitions in the table; None if unknown.
        target: Transitions that the table will hold.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._rows = 0
        self.in_table: int | None = None
        self.target: int | None = None
        registry.register(self)

    def count_written(self, transitions: int) -> None:
        """Count transitions that the table has confirmed."""
        self._rows += transitions
        self.in_table = (self.in_table or 0) + transitions

    def collect(self) -> Iterator[Metric]:
        """The page's content."""
        yield counter("rrl_importer_rows", "Transitions put into the table.", self._rows)
        yield gauge("rrl_importer_rows_in_table", "Transitions in the table.", self.in_table)
        yield gauge("rrl_importer_rows_target", "Transitions it is to hold.", self.target)
