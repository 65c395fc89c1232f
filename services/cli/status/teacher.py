"""What teachers did between two looks, all replicas, models and priorities together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rrl_client.addresses import Address
from services.cli.status.facts import Teacher
from services.cli.status.page import Page
from services.cli.status.sources import Look
from services.shared.errors import UserError
from services.teacher.top.rates import quantile
from services.teacher.top.snapshot import Histogram, PriorityCounts, Snapshot, parse

_SOMEWHERE = Address("teacher", 1)
"""Names the page in messages, which nobody sees here."""


def teacher_of(before: Look, after: Look) -> Teacher | None:
    """The teachers of a run; None where no page of one came."""
    seconds = after.taken - before.taken
    pages = [(name, p) for name, p in after.pages.items() if p is not None and p.role == "teacher"]
    now = [_snapshot(page, after.taken) for _, page in pages]
    earlier = [_snapshot(before.pages.get(name), before.taken) for name, _ in pages]
    # One that began anew meanwhile counts from nothing.
    pairs = [
        (old if old is not None and old.started == new.started else None, new)
        for old, new in zip(earlier, now, strict=True)
        if new is not None
    ]
    if not pairs or seconds <= 0:
        return None
    latency = _new_values([_latency(old) for old, _ in pairs], [_latency(new) for _, new in pairs])
    batches = _new_values([_batches(old) for old, _ in pairs], [_batches(new) for _, new in pairs])
    return Teacher(
        rows_per_second=math.fsum(_rows(new) - _rows(old) for old, new in pairs) / seconds,
        latency_p50_seconds=quantile(latency, 0.5),
        latency_p99_seconds=quantile(latency, 0.99),
        mean_batch_rows=batches.total / batches.count if batches.count > 0 else None,
        queue_rows=math.fsum(
            priority.queue_rows for _, new in pairs for priority in _priorities(new)
        ),
        rejected_per_second=math.fsum(_rejected(new) - _rejected(old) for old, new in pairs)
        / seconds,
    )


def _snapshot(page: Page | None, taken: float) -> Snapshot | None:
    if page is None:
        return None
    try:
        return parse(page.text, _SOMEWHERE, taken)
    except UserError:
        return None


def _priorities(snapshot: Snapshot | None) -> Iterable[PriorityCounts]:
    models = snapshot.models.values() if snapshot is not None else ()
    return [priority for model in models for priority in model.priorities.values()]


def _rows(snapshot: Snapshot | None) -> float:
    return math.fsum(priority.rows for priority in _priorities(snapshot))


def _rejected(snapshot: Snapshot | None) -> float:
    return math.fsum(priority.rejected for priority in _priorities(snapshot))


def _latency(snapshot: Snapshot | None) -> Histogram:
    return _added([priority.latency for priority in _priorities(snapshot)])


def _batches(snapshot: Snapshot | None) -> Histogram:
    models = snapshot.models.values() if snapshot is not None else ()
    return _added([model.batch_rows for model in models])


def _added(histograms: Sequence[Histogram]) -> Histogram:
    """Several histograms of the same buckets as one; those of others are left out."""
    filled = [histogram for histogram in histograms if histogram.bounds]
    alike = [histogram for histogram in filled if histogram.bounds == filled[0].bounds]
    if not alike:
        return Histogram()
    return Histogram(
        bounds=alike[0].bounds,
        counts=tuple(math.fsum(counts) for counts in zip(*(h.counts for h in alike), strict=True)),
        total=math.fsum(histogram.total for histogram in alike),
    )


def _new_values(before: Sequence[Histogram], after: Sequence[Histogram]) -> Histogram:
    earlier, now = _added(before), _added(after)
    if earlier.bounds != now.bounds:
        return now
    return Histogram(
        bounds=now.bounds,
        counts=tuple(new - old for old, new in zip(earlier.counts, now.counts, strict=True)),
        total=now.total - earlier.total,
    )
