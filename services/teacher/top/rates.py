"""What happened in a teacher service between two snapshots of its metrics, per second.

Counters are read as Prometheus reads them: one that went back began again from 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from services.teacher.top.snapshot import Histogram, ModelCounts, PriorityCounts, Snapshot

_NO_QUERIES = PriorityCounts()
_NO_MODEL = ModelCounts()


@dataclasses.dataclass(frozen=True, kw_only=True)
class PriorityRates:
    """One priority of one model; None where nothing happened that could be measured.

    Attributes:
        queries_per_second: Answered.
        rows_per_second: Answered.
        queue_rows: Waiting at the end.
        wait_p50_seconds: Median of the waits for the device.
        wait_p99_seconds: 99 of 100 waits were shorter.
        latency_p99_seconds: 99 of 100 queries were settled sooner.
        rejected_per_second: Queries refused at once.
        expired_per_second: Queries that waited past their deadline.
    """

    queries_per_second: float
    rows_per_second: float
    queue_rows: float
    wait_p50_seconds: float | None
    wait_p99_seconds: float | None
    latency_p99_seconds: float | None
    rejected_per_second: float
    expired_per_second: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelRates:
    """One model; None where no batch was run.

    Attributes:
        batches_per_second: Batches on the device.
        mean_batch_rows: Real rows per batch.
        padding_share: Padding rows among all rows computed, 0 to 1.
        forward_p50_seconds: Median time of a batch on the device.
        reloads_failed: Since the service began.
        priorities: By name.
    """

    batches_per_second: float
    mean_batch_rows: float | None
    padding_share: float | None
    forward_p50_seconds: float | None
    reloads_failed: float
    priorities: Mapping[str, PriorityRates]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rates:
    """A whole service.

    Attributes:
        now: The later snapshot.
        restarted: Whether the service began anew in between.
        models: By name.
    """

    now: Snapshot
    restarted: bool
    models: Mapping[str, ModelRates]


def difference(before: Snapshot, after: Snapshot) -> Rates:
    """Rates from one snapshot to a later one.

    Where the service began anew in between, all it counted since counts for this interval.

    Raises:
        ValueError: `after` was not taken after `before`.
    """
    seconds = after.taken - before.taken
    if not seconds > 0:
        raise ValueError(f"the later snapshot is {seconds} s after the earlier; need above 0")
    restarted = after.started != before.started
    earlier = {} if restarted else before.models
    return Rates(
        now=after,
        restarted=restarted,
        models={
            name: _model(earlier.get(name, _NO_MODEL), model, seconds)
            for name, model in after.models.items()
        },
    )


def quantile(histogram: Histogram, q: float) -> float | None:
    """The value that a share `q` of the values stays at or below.

    Interpolated linearly within its bucket, the first of which begins at 0; beyond the last finite
    bound it is that bound. That is Prometheus's rule for classic histograms (`histogram_quantile`).

    Args:
        histogram: Of values at or above 0.
        q: 0 to 1.

    Returns:
        The value; None where there are none.
    """
    if not histogram.count > 0 or len(histogram.bounds) < 2:
        return None
    rank = q * histogram.count
    lower, below = 0.0, 0.0
    for bound, count in zip(histogram.bounds[:-1], histogram.counts[:-1], strict=True):
        if count >= rank:
            share = (rank - below) / (count - below) if count > below else 1.0
            return lower + (bound - lower) * share
        lower, below = bound, count
    return lower


def _model(before: ModelCounts, after: ModelCounts, seconds: float) -> ModelRates:
    batch_rows = _new_values(before.batch_rows, after.batch_rows)
    padding = _increase(before.padding_rows, after.padding_rows)
    computed = batch_rows.total + padding
    return ModelRates(
        batches_per_second=batch_rows.count / seconds,
        mean_batch_rows=batch_rows.total / batch_rows.count if batch_rows.count > 0 else None,
        padding_share=padding / computed if computed > 0 else None,
        forward_p50_seconds=quantile(_new_values(before.forward, after.forward), 0.5),
        reloads_failed=after.reloads_failed,
        priorities={
            name: _priority(before.priorities.get(name, _NO_QUERIES), priority, seconds)
            for name, priority in after.priorities.items()
        },
    )


def _priority(before: PriorityCounts, after: PriorityCounts, seconds: float) -> PriorityRates:
    wait = _new_values(before.wait, after.wait)
    return PriorityRates(
        queries_per_second=_increase(before.queries, after.queries) / seconds,
        rows_per_second=_increase(before.rows, after.rows) / seconds,
        queue_rows=after.queue_rows,
        wait_p50_seconds=quantile(wait, 0.5),
        wait_p99_seconds=quantile(wait, 0.99),
        latency_p99_seconds=quantile(_new_values(before.latency, after.latency), 0.99),
        rejected_per_second=_increase(before.rejected, after.rejected) / seconds,
        expired_per_second=_increase(before.expired, after.expired) / seconds,
    )


def _increase(before: float, after: float) -> float:
    return after - before if after >= before else after


def _new_values(before: Histogram, after: Histogram) -> Histogram:
    """The values that came since `before`."""
    if before.bounds != after.bounds or before.count > after.count:
        return after
    return Histogram(
        bounds=after.bounds,
        counts=tuple(new - old for old, new in zip(before.counts, after.counts, strict=True)),
        total=after.total - before.total,
    )
