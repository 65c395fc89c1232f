"""What a teacher's metrics page says at one moment, as numbers with names.

http://HOST:PORT/metrics ── fetch ──▶ text ── parse ──▶ Snapshot
                             └ UserError: nobody there    └ UserError: not a teacher's page
"""

from __future__ import annotations

import collections
import dataclasses
import http.client
import math
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from rrl_client.addresses import Address
from services.shared.errors import UserError

MAX_PAGE_BYTES = 8 * 2**20
"""Largest page read; a model takes about 20 KB."""

FETCH_TIMEOUT_SECONDS = 3.0

_STARTED = "rrl_teacher_start_time_seconds"


@dataclasses.dataclass(frozen=True)
class Histogram:
    """A Prometheus histogram.

    Attributes:
        bounds: Upper bounds of the buckets, ascending.
        counts: Values at or below each bound.
        total: Sum of the values.
    """

    bounds: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()
    total: float = 0.0

    @property
    def count(self) -> float:
        """Number of values."""
        return self.counts[-1] if self.counts else 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class PriorityCounts:
    """One priority of one model.

    Attributes:
        queries: Answered since the start.
        rows: Answered since the start.
        rejected: Queries refused at once since the start.
        expired: Queries that waited past their deadline since the start.
        queue_rows: Waiting now.
        wait: Seconds from arrival to the device.
        latency: Seconds from arrival to the end.
    """

    queries: float = 0.0
    rows: float = 0.0
    rejected: float = 0.0
    expired: float = 0.0
    queue_rows: float = 0.0
    wait: Histogram = Histogram()
    latency: Histogram = Histogram()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelCounts:
    """One model; its versions count together.

    Attributes:
        batch_rows: Real rows per batch.
        forward: Seconds per batch on the device.
        padding_rows: Computed for nobody since the start.
        reloads_failed: Since the start.
        priorities: By name, e.g. "acting".
    """

    batch_rows: Histogram = Histogram()
    forward: Histogram = Histogram()
    padding_rows: float = 0.0
    reloads_failed: float = 0.0
    priorities: Mapping[str, PriorityCounts] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServedVersion:
    """A version that the service answers with; texts as on the page."""

    model: str
    version: str
    parameters: str
    backend: str
    game: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A whole page.

    Attributes:
        taken: When, in seconds of a clock of the reader that never goes back.
        started: When the service began, in seconds of Unix time; tells one life from the next.
        serving: Whether health says SERVING.
        queue_bytes: Waiting now.
        compilations: After readiness; should be 0.
        connections: Open now, by transport.
        versions: What is served.
        models: Counts by model.
    """

    taken: float
    started: float
    serving: bool = False
    queue_bytes: float = 0.0
    compilations: float = 0.0
    connections: Mapping[str, float] = dataclasses.field(default_factory=dict)
    versions: tuple[ServedVersion, ...] = ()
    models: Mapping[str, ModelCounts] = dataclasses.field(default_factory=dict)


def fetch(address: Address, *, timeout_seconds: float = FETCH_TIMEOUT_SECONDS) -> str:
    """Read the page of a service.

    Raises:
        UserError: Nobody answers there, or not with a page.
    """
    connection = http.client.HTTPConnection(*address, timeout=timeout_seconds)
    try:
        connection.request("GET", "/metrics", headers={"Accept": "text/plain"})
        response = connection.getresponse()
        content = response.read(MAX_PAGE_BYTES + 1)
    except OSError as error:
        raise UserError(
            f"no metrics page at {address} ({error.strerror or error}); start the teacher with "
            "`rrl teacher serve`, or give its metrics port as --metrics HOST:PORT"
        ) from error
    except http.client.HTTPException as error:
        raise _not_a_teacher(address, f"it does not speak HTTP: {type(error).__name__}") from error
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise _not_a_teacher(address, f"HTTP status {response.status}")
    if len(content) > MAX_PAGE_BYTES:
        raise _not_a_teacher(address, f"more than {MAX_PAGE_BYTES} bytes")
    return content.decode("utf-8", "replace")


def parse(text: str, address: Address, taken: float) -> Snapshot:
    """Read a page's text.

    Args:
        text: The page.
        address: Whose, for messages.
        taken: When it was fetched, in seconds of the reader's clock.

    Raises:
        UserError: It is no page of a teacher service.
    """
    samples = _samples(text, address)
    if not (_STARTED in samples and math.isfinite(_sum(samples[_STARTED]))):
        raise _not_a_teacher(address, f"no {_STARTED} on it")
    connections: dict[str, float] = collections.defaultdict(float)
    for sample in samples["rrl_teacher_connections"]:
        connections[sample.labels.get("transport", "")] += sample.value
    try:
        models = _models(samples)
    except ValueError as error:
        raise _not_a_teacher(address, str(error)) from error
    return Snapshot(
        taken=taken,
        started=_sum(samples[_STARTED]),
        serving=_sum(samples["rrl_teacher_serving"]) == 1,
        queue_bytes=_sum(samples["rrl_teacher_queue_bytes"]),
        compilations=_sum(samples["rrl_teacher_compilations_after_ready_total"]),
        connections=dict(connections),
        versions=tuple(_version(sample) for sample in samples["rrl_teacher_info"]),
        models=models,
    )


_Samples = Mapping[str, list[Sample]]


def _samples(text: str, address: Address) -> _Samples:
    """The page's samples by name; a name that is not there has none."""
    samples: dict[str, list[Sample]] = collections.defaultdict(list)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples[sample.name].append(sample)
    except (ValueError, LookupError) as error:
        raise _not_a_teacher(address, "it is not in Prometheus's text format") from error
    return samples


def _version(sample: Sample) -> ServedVersion:
    fields = (field.name for field in dataclasses.fields(ServedVersion))
    return ServedVersion(**{name: sample.labels.get(name, "") for name in fields})


def _models(samples: _Samples) -> dict[str, ModelCounts]:
    """Counts of every model; samples are sorted by model and priority once."""
    served = (sample.labels.get("model", "") for sample in samples["rrl_teacher_info"])
    by_model: dict[str, dict[str, dict[str, list[Sample]]]] = {
        model: _no_priorities() for model in served
    }
    for name, found in samples.items():
        for sample in found:
            if name.startswith("rrl_teacher_") and "model" in sample.labels:
                priorities = by_model.setdefault(sample.labels["model"], _no_priorities())
                priorities[sample.labels.get("priority", "")][name].append(sample)
    return {model: _model(priorities) for model, priorities in by_model.items()}


def _no_priorities() -> dict[str, dict[str, list[Sample]]]:
    return collections.defaultdict(lambda: collections.defaultdict(list))


def _model(priorities: Mapping[str, _Samples]) -> ModelCounts:
    whole = priorities[""]
    reloads = whole["rrl_teacher_reloads_total"]
    return ModelCounts(
        batch_rows=_histogram(whole, "rrl_teacher_batch_rows"),
        forward=_histogram(whole, "rrl_teacher_forward_seconds"),
        padding_rows=_sum(whole["rrl_teacher_padding_rows_total"]),
        reloads_failed=_sum([one for one in reloads if one.labels.get("result") != "ok"]),
        priorities={
            priority: _priority(samples) for priority, samples in priorities.items() if priority
        },
    )


def _priority(samples: _Samples) -> PriorityCounts:
    ended = samples["rrl_teacher_queries_total"]
    return PriorityCounts(
        queries=_sum([sample for sample in ended if sample.labels.get("code") == "OK"]),
        rows=_sum(samples["rrl_teacher_rows_total"]),
        rejected=_sum(samples["rrl_teacher_rejected_total"]),
        expired=_sum(samples["rrl_teacher_expired_total"]),
        queue_rows=_sum(samples["rrl_teacher_queue_rows"]),
        wait=_histogram(samples, "rrl_teacher_wait_seconds"),
        latency=_histogram(samples, "rrl_teacher_latency_seconds"),
    )


def _histogram(samples: _Samples, name: str) -> Histogram:
    buckets = sorted(
        (float(sample.labels["le"]), sample.value)
        for sample in samples[f"{name}_bucket"]
        if "le" in sample.labels
    )
    return Histogram(
        bounds=tuple(bound for bound, _ in buckets),
        counts=tuple(count for _, count in buckets),
        total=_sum(samples[f"{name}_sum"]),
    )


def _sum(samples: list[Sample]) -> float:
    return sum(sample.value for sample in samples)


def _not_a_teacher(address: Address, reason: str) -> UserError:
    return UserError(
        f"what answers at {address} is no teacher's metrics page ({reason}); give the metrics port "
        "of `rrl teacher serve` as --metrics HOST:PORT"
    )
