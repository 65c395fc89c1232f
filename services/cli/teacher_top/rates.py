"""What a teacher service did in an interval, per model and priority."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from services.cli.teacher_top.interval import Interval


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
    """One model, its versions together; None where no batch was run.

    Attributes:
        batches_per_second: Batches on the device.
        mean_batch_rows: Real rows per batch.
        padding_share: Padding rows among all rows computed, 0 to 1.
        forward_p50_seconds: Median time of a batch on the device.
        reloads_failed: Since the service began.
        priorities: By name, e.g. "acting".
    """

    batches_per_second: float
    mean_batch_rows: float | None
    padding_share: float | None
    forward_p50_seconds: float | None
    reloads_failed: float
    priorities: Mapping[str, PriorityRates]


def rates_of(interval: Interval) -> dict[str, ModelRates]:
    """The rates of every model, the served ones first.

    Raises:
        ValueError: the interval has no length.
    """
    if not interval.seconds > 0:
        raise ValueError(f"the two looks are {interval.seconds} s apart; need above 0")
    page = interval.now
    models = [*page.by("rrl_teacher_info", "model"), *page.label_values("model")]
    return {model: _model(interval, model) for model in dict.fromkeys(models)}


def _model(interval: Interval, model: str) -> ModelRates:
    batch_rows = interval.histogram("rrl_teacher_batch_rows", model=model)
    padding = interval.increase("rrl_teacher_padding_rows_total", model=model)
    computed = batch_rows.total + padding
    reloads = interval.now.by("rrl_teacher_reloads_total", "result", model=model)
    return ModelRates(
        batches_per_second=batch_rows.count / interval.seconds,
        mean_batch_rows=batch_rows.mean,
        padding_share=padding / computed if computed > 0 else None,
        forward_p50_seconds=interval.histogram("rrl_teacher_forward_seconds", model=model).quantile(
            0.5
        ),
        reloads_failed=sum(count for result, count in reloads.items() if result != "ok"),
        priorities={
            priority: _priority(interval, {"model": model, "priority": priority})
            for priority in interval.now.label_values("priority", model=model)
        },
    )


def _priority(interval: Interval, labels: Mapping[str, str]) -> PriorityRates:
    def per_second(name: str, **more: str) -> float:
        return interval.increase(f"rrl_teacher_{name}_total", **labels, **more) / interval.seconds

    wait = interval.histogram("rrl_teacher_wait_seconds", **labels)
    latency = interval.histogram("rrl_teacher_latency_seconds", **labels)
    return PriorityRates(
        queries_per_second=per_second("queries", code="OK"),
        rows_per_second=per_second("rows"),
        queue_rows=interval.now.value("rrl_teacher_queue_rows", **labels) or 0.0,
        wait_p50_seconds=wait.quantile(0.5),
        wait_p99_seconds=wait.quantile(0.99),
        latency_p99_seconds=latency.quantile(0.99),
        rejected_per_second=per_second("rejected"),
        expired_per_second=per_second("expired"),
    )
