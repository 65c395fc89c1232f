"""Prometheus metrics of a replay shard."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from services.replay.config import ReplayConfig
from services.replay.connection import TableCounts, table_counts
from services.replay.failures import ReplayTimeout
from services.replay.role import ReplayRole
from services.replay.served_tables import EMPTY
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.shared.metrics import CumulativeIncrease, counter, counters, gauge, gauges

_COUNTS_LIVE_SECONDS = 1.0
_COUNTS_TIMEOUT_SECONDS = 1.0


class ReplayMetrics(Collector):
    """A shard's metrics; safe to use from any thread.

    Args:
        registry: Registry to add the metrics to; must not have another shard's.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lock = threading.Lock()
        self._role: ReplayRole | None = None
        self._counts: Mapping[str, TableCounts] = {}
        self._counted_at = -_COUNTS_LIVE_SECONDS
        self._inserted = {table: CumulativeIncrease() for table in (TEACHER_TABLE, STUDENT_TABLE)}
        self._sampled = {table: CumulativeIncrease() for table in (TEACHER_TABLE, STUDENT_TABLE)}
        registry.register(self)

    def attach(self, role: ReplayRole) -> None:
        """Report this role from now on; it need not be serving yet."""
        self._role = role

    def collect(self) -> Iterator[Metric]:
        """The page's content."""
        with self._lock:
            role = self._role
            if role is not None and role.served is not None:
                self._count(role)
            counts = dict(self._counts)
        is_serving = role is not None and role.served is not None
        yield gauge("rrl_replay_serving", "Whether tables are served.", float(is_serving))
        if role is not None:
            yield from _checkpoints(role)
            yield from self._tables(counts, role.config)

    def _count(self, role: ReplayRole) -> None:
        """Read Reverb's counts, at most once a second; without an answer, keep the last ones."""
        if time.monotonic() - self._counted_at < _COUNTS_LIVE_SECONDS:
            return
        try:
            found = table_counts(role.address, timeout_seconds=_COUNTS_TIMEOUT_SECONDS)
        except (ReplayTimeout, RuntimeError):
            # Reverb is loading tables, or writing a checkpoint.
            return
        served = role.served
        if not self._counts and served is not None and served.checkpoint == EMPTY:
            # The tables started empty, so all their items count.
            for rises in (*self._inserted.values(), *self._sampled.values()):
                rises.observe(0.0)
        self._counts, self._counted_at = found, time.monotonic()
        for table, counts in found.items():
            self._inserted[table].observe(counts.inserted)
            self._sampled[table].observe(counts.sampled)

    def _tables(self, counts: Mapping[str, TableCounts], config: ReplayConfig) -> Iterator[Metric]:
        yield gauges(
            "rrl_replay_items",
            "Items in a table.",
            "table",
            {table: count.size for table, count in counts.items()},
        )
        yield gauges(
            "rrl_replay_capacity_items",
            "Most items in a table.",
            "table",
            {TEACHER_TABLE: config.teacher_capacity, STUDENT_TABLE: config.student_capacity},
        )
        inserted = {table: rises.total for table, rises in self._inserted.items()}
        yield counters("rrl_replay_inserted", "Items inserted into a table.", "table", inserted)
        sampled = {table: rises.total for table, rises in self._sampled.items()}
        yield counters("rrl_replay_sampled", "Items sampled from a table.", "table", sampled)
        yield gauge(
            "rrl_replay_samples_per_insert",
            "Items sampled per item inserted beyond the minimum size of the student's table, over "
            "the whole run.",
            replay_ratio(counts[STUDENT_TABLE], config.min_student_size)
            if STUDENT_TABLE in counts
            else None,
        )
        yield gauge(
            "rrl_replay_samples_per_insert_target",
            "The configured replay ratio, which rrl_replay_samples_per_insert should approach.",
            config.samples_per_insert,
        )


def replay_ratio(counts: TableCounts, min_size: int) -> float | None:
    """Items sampled per item inserted beyond the size where sampling starts; None before that."""
    learned_from = counts.inserted - min_size
    return counts.sampled / learned_from if learned_from > 0 and counts.sampled > 0 else None


def _checkpoints(role: ReplayRole) -> Iterator[Metric]:
    stats = role.stats
    yield counter(
        "rrl_replay_restores",
        "Loads of tables at the learner's request.",
        stats.restores,
    )
    yield counters(
        "rrl_replay_checkpoints",
        "Checkpoints of the tables.",
        "result",
        {"written": stats.checkpoints, "failed": stats.failed_checkpoints},
    )
    yield gauge(
        "rrl_replay_checkpoint_seconds",
        "Seconds that the last checkpoint took.",
        stats.checkpoint_seconds if stats.checkpoints > 0 else None,
    )
    yield gauge(
        "rrl_replay_checkpoint_number",
        "Newest checkpoint of the run that the tables were loaded from or saved to.",
        stats.checkpoint,
    )
