"""Prometheus metrics of a teacher service.

Counting a query must cost little compared with answering it, so the hot counts are plain numbers
behind one lock per model, taken once per batch. Prometheus objects are made from them when the page
is requested.
"""

from __future__ import annotations

import bisect
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from rrl_client import Priority, TeacherDescription
from rrl_client.requests import RefusalCode
from services.shared.metrics import counter, counters, gauge, gauges
from services.teacher.batching.query import Query

CODES = ("OK", *(code.name for code in RefusalCode))
"""All values of the label `code`: gRPC status names."""

REJECTIONS = ("full", "too_late", "credit", "invalid")
"""All values of the label `reason` of rejected queries."""

RELOADS = ("ok", "failed")
"""All values of the label `result` of reloads."""

SECONDS_BOUNDS = (
    *(0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
)
ROW_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class HistogramCounts:
    """A histogram of plain numbers; the owner holds the lock."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add the counts to a Prometheus family."""
        buckets, total = [], 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == float("inf") else repr(float(bound)), float(total)))
        family.add_metric(labels, buckets, self._sum)


class ModelStats:
    """Counts of one model; methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.ended = {(priority, code): 0 for priority in Priority for code in CODES}
        self.rejections = {(priority, reason): 0 for priority in Priority for reason in REJECTIONS}
        self.rows = dict.fromkeys(Priority, 0)
        self.wait = {priority: HistogramCounts(SECONDS_BOUNDS) for priority in Priority}
        self.latency = {priority: HistogramCounts(SECONDS_BOUNDS) for priority in Priority}
        self.batch_rows = HistogramCounts(ROW_BOUNDS)
        self.forward = HistogramCounts(SECONDS_BOUNDS)
        self.padding_rows = 0

    def refused(self, priority: Priority, code: RefusalCode, reason: str | None = None) -> None:
        """Count a query that was refused at once, with one of `REJECTIONS` if one fits."""
        with self._lock:
            self.ended[priority, code.name] += 1
            if reason is not None:
                self.rejections[priority, reason] += 1

    def taken(self, queries: Iterable[Query], now: float) -> None:
        """Count the waiting times of queries that go to the device."""
        with self._lock:
            for query in queries:
                self.wait[query.priority].observe(now - query.queued_at)

    def settled(self, queries: Iterable[Query], now: float) -> None:
        """Count queued queries that are answered or refused."""
        with self._lock:
            for query in queries:
                self.latency[query.priority].observe(now - query.queued_at)
                if query.refusal is None:
                    self.ended[query.priority, "OK"] += 1
                    self.rows[query.priority] += query.rows
                else:
                    self.ended[query.priority, query.refusal.code.name] += 1

    def batch_ended(self, rows: int, padding_rows: int, seconds: float) -> None:
        """Count a batch of `rows` real and `padding_rows` padding rows on the device."""
        with self._lock:
            self.batch_rows.observe(rows)
            self.padding_rows += padding_rows
            self.forward.observe(seconds)


class TeacherMetrics(Collector):
    """All metrics of one service, collected when the page is requested."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register on `registry`, which must hold no other teacher's metrics."""
        self._started = time.time()
        self._models: dict[str, ModelStats] = {}
        self._reloads: Counter[tuple[str, str]] = Counter()
        self._streams = 0
        self._lock = threading.Lock()
        self.serving = False
        self.versions: Callable[[], Iterable[TeacherDescription]] = lambda: ()
        """Returns the versions served now."""
        self.queue_rows: Callable[[], dict[str, Sequence[int]]] = dict
        """Returns the waiting rows, by model and priority."""
        self.queue_bytes: Callable[[], int] = int
        """Returns the waiting bytes."""
        self.memories: Callable[[], int] = int
        """Returns the number of streams whose clients share memory."""
        self.compilations: Callable[[], int] = int
        """Returns the number of compilations since readiness."""
        registry.register(self)

    def model(self, name: str) -> ModelStats:
        """The counts of a model, created on first use."""
        with self._lock:
            return self._models.setdefault(name, ModelStats())

    def reloaded(self, model: str, result: str) -> None:
        """Count a reload, with one of `RELOADS`."""
        with self._lock:
            self._reloads[model, result] += 1

    def streams_changed(self, change: int) -> None:
        """Count a stream that opened (1) or closed (-1)."""
        with self._lock:
            self._streams += change

    def collect(self) -> Iterator[Metric]:
        """The page's content."""
        yield gauge("rrl_teacher_serving", "Whether health says SERVING.", float(self.serving))
        yield gauge(
            "rrl_teacher_start_time_seconds", "When the service began, Unix time.", self._started
        )
        yield gauge("rrl_teacher_queue_bytes", "Bytes of observations waiting.", self.queue_bytes())
        yield counter(
            "rrl_teacher_compilations_after_ready",
            "Compilations after readiness; must stay 0.",
            self.compilations(),
        )
        yield self._info()
        in_memory = self.memories()
        yield gauges(
            "rrl_teacher_streams",
            "Streams by where their observations are.",
            "observations",
            {"messages": self._streams - in_memory, "shared_memory": in_memory},
        )
        with self._lock:
            models = dict(self._models)
            # Prometheus sees an increase only if it has seen the 0 before.
            reloads = {(model, result): 0 for model in models for result in RELOADS}
            reloads |= self._reloads
        yield counters("rrl_teacher_reloads", "Reloads of weights.", ("model", "result"), reloads)
        yield from _of_models(models)
        yield from _of_priorities(models)
        yield gauges(
            "rrl_teacher_queue_rows",
            "Rows waiting for the device.",
            ("model", "priority"),
            {
                (model, priority.name.lower()): rows[priority]
                for model, rows in self.queue_rows().items()
                for priority in Priority
            },
        )

    def _info(self) -> Metric:
        return gauges(
            "rrl_teacher_info",
            "Versions that are served.",
            ("model", "version", "parameters", "backend", "game"),
            {
                (v.model, str(v.model_version), v.teacher_version, v.backend, v.game): 1
                for v in self.versions()
            },
        )


def _of_models(models: dict[str, ModelStats]) -> Iterator[Metric]:
    yield histogram(
        "rrl_teacher_batch_rows",
        "Real rows in one batch on the device.",
        ("model",),
        {(name,): stats.batch_rows for name, stats in models.items()},
    )
    yield histogram(
        "rrl_teacher_forward_seconds",
        "Seconds of one batch on the device, transfers included.",
        ("model",),
        {(name,): stats.forward for name, stats in models.items()},
    )
    padding = {name: stats.padding_rows for name, stats in models.items()}
    yield counters("rrl_teacher_padding_rows", "Padding rows computed.", "model", padding)


def _of_priorities(models: dict[str, ModelStats]) -> Iterator[Metric]:
    labels = ("model", "priority")
    each = [
        ((name, priority.name.lower()), stats, priority)
        for name, stats in models.items()
        for priority in Priority
    ]
    ended = {(*at, code): stats.ended[p, code] for at, stats, p in each for code in CODES}
    yield counters("rrl_teacher_queries", "Queries by how they ended.", (*labels, "code"), ended)
    yield counters(
        "rrl_teacher_rejected",
        "Queries that were not queued.",
        (*labels, "reason"),
        {(*at, why): stats.rejections[p, why] for at, stats, p in each for why in REJECTIONS},
    )
    rows = {at: stats.rows[p] for at, stats, p in each}
    yield counters("rrl_teacher_rows", "Rows answered.", labels, rows)
    late = {at: stats.ended[p, "DEADLINE_EXCEEDED"] for at, stats, p in each}
    yield counters(
        "rrl_teacher_expired", "Queries whose deadline passed in the queue.", labels, late
    )
    given_up = {at: stats.ended[p, "CANCELLED"] for at, stats, p in each}
    yield counters("rrl_teacher_cancelled", "Queries given up by their client.", labels, given_up)
    yield histogram(
        "rrl_teacher_wait_seconds",
        "Seconds from a query's arrival to its turn.",
        labels,
        {at: stats.wait[p] for at, stats, p in each},
    )
    yield histogram(
        "rrl_teacher_latency_seconds",
        "Seconds from a query's arrival to its end.",
        labels,
        {at: stats.latency[p] for at, stats, p in each},
    )


def histogram(
    name: str, text: str, labels: tuple[str, ...], counts: Mapping[tuple[str, ...], HistogramCounts]
) -> Metric:
    """A histogram for each of the values of several labels."""
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, counted in counts.items():
        counted.add_to(family, values)
    return family
