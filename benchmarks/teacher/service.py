"""The service under test: `rrl teacher serve` in its own process, and its metrics page."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from benchmarks.roles import running

CHECKPOINT = "pong_dqn"

_READY = r"ready at (\S+): .* on ([^,]+)(?:, and \d+ more)?, metrics port (\d+)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Service:
    """A teacher service that is ready.

    Attributes:
        address: Its gRPC address, "host:port".
        unix_address: Its gRPC address on the Unix socket.
        pid: Its process.
        metrics_url: Its metrics page.
        backend: What computes, e.g. "onnxruntime cpu".
    """

    address: str
    unix_address: str
    pid: int
    metrics_url: str
    backend: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counts:
    """What the metrics page has counted, or what came between two looks at it.

    Attributes:
        batches: Calls of the policy.
        rows: States computed.
        padding_rows: Rows computed for nothing, beside those.
        compilations: Compilations after readiness.
        refused: Queries that were not taken.
        expired: Queries whose deadline passed in the queue.
    """

    batches: float
    rows: float
    padding_rows: float
    compilations: float
    refused: float
    expired: float

    def since(self, earlier: Counts) -> Counts:
        """What was counted after `earlier`."""
        return Counts(
            **{
                field.name: getattr(self, field.name) - getattr(earlier, field.name)
                for field in dataclasses.fields(self)
            }
        )

    @property
    def mean_batch(self) -> float:
        """States in a batch on average; 0 without batches."""
        return self.rows / self.batches if self.batches else 0.0

    @property
    def padding_share(self) -> float:
        """Share of padding in all rows computed."""
        computed = self.rows + self.padding_rows
        return self.padding_rows / computed if computed else 0.0


@contextlib.contextmanager
def teacher_service(checkpoint: str = CHECKPOINT, *flags: str) -> Iterator[Service]:
    """Serve on free ports until the block ends.

    Args:
        checkpoint: Bundled name or teacher directory.
        *flags: More flags of `rrl teacher serve`.

    Raises:
        RuntimeError: It did not become ready.
    """
    ports = ("--port", "0", "--metrics-port", "0")
    with tempfile.TemporaryDirectory(prefix="rrl-") as folder:
        unix = str(Path(folder) / "teacher.sock")
        command = ("teacher", "serve", "--checkpoint", checkpoint)
        with running(*command, *ports, "--unix-socket", unix, *flags, ready=_READY) as (
            process,
            ready,
        ):
            address, backend, metrics_port = ready
            yield Service(
                address=address,
                unix_address=f"unix:{unix}",
                pid=process.pid,
                metrics_url=f"http://{address.rpartition(':')[0]}:{metrics_port}/metrics",
                backend=backend,
            )


def read_counts(service: Service) -> Counts:
    """Read the metrics page."""
    totals: dict[str, float] = {}
    for sample in _samples(service):
        totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
    return Counts(
        batches=totals["rrl_teacher_batch_rows_count"],
        rows=totals["rrl_teacher_batch_rows_sum"],
        padding_rows=totals["rrl_teacher_padding_rows_total"],
        compilations=totals["rrl_teacher_compilations_after_ready_total"],
        refused=totals["rrl_teacher_rejected_total"],
        expired=totals["rrl_teacher_expired_total"],
    )


def read_totals(service: Service, name: str, label: str) -> dict[str, float]:
    """Read one metric, by one of its labels, summed over the others."""
    totals: dict[str, float] = {}
    for sample in _samples(service):
        if sample.name == name:
            value = sample.labels[label]
            totals[value] = totals.get(value, 0.0) + sample.value
    return totals


def _samples(service: Service) -> Iterator[Sample]:
    with urllib.request.urlopen(service.metrics_url, timeout=10.0) as response:
        page = response.read().decode()
    for family in text_string_to_metric_families(page):
        yield from family.samples
