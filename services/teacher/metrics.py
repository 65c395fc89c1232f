"""What a teacher service counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REQUEST_CODES = (
    "OK",
    "INVALID_ARGUMENT",
    "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",
    "UNAVAILABLE",
    "CANCELLED",
    "INTERNAL",
)
"""All values of the label `code`: gRPC's names of how an Evaluate ended."""

_LATENCY_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_ROW_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class TeacherMetrics:
    """Counters and histograms of one service; every method may be called from any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register on `registry`, which must hold no other teacher's metrics."""
        requests = Counter(
            "rrl_teacher_requests_total",
            "Evaluate requests by result.",
            ["code"],
            registry=registry,
        )
        # Made now, so that a rate over a code that has not happened yet is 0 and not missing.
        self._requests = {code: requests.labels(code=code) for code in REQUEST_CODES}
        self._latency = Histogram(
            "rrl_teacher_request_latency_seconds",
            "Seconds from the arrival of an Evaluate to its result.",
            buckets=_LATENCY_BOUNDS,
            registry=registry,
        )
        self._batch_rows = Histogram(
            "rrl_teacher_batch_rows",
            "Real rows in one batch on the device.",
            buckets=_ROW_BOUNDS,
            registry=registry,
        )
        self._padding_rows = Counter(
            "rrl_teacher_padding_rows_total", "Padding rows computed.", registry=registry
        )
        self._device_seconds = Histogram(
            "rrl_teacher_device_seconds",
            "Seconds of one batch on the device, transfers included.",
            buckets=_LATENCY_BOUNDS,
            registry=registry,
        )
        self._queue_rows = Gauge(
            "rrl_teacher_queue_rows", "Rows waiting for the device.", registry=registry
        )

    def request_ended(self, code: str, seconds: float) -> None:
        """Count an Evaluate that ended with `code`, one of `REQUEST_CODES`."""
        self._requests[code].inc()
        self._latency.observe(seconds)

    def batch_ended(self, rows: int, padding_rows: int, seconds: float) -> None:
        """Count a batch of `rows` real and `padding_rows` further rows on the device."""
        self._batch_rows.observe(rows)
        self._padding_rows.inc(padding_rows)
        self._device_seconds.observe(seconds)

    def queue_is(self, rows: int) -> None:
        """Note the rows waiting now."""
        self._queue_rows.set(rows)
