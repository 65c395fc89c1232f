"""The settings of a teacher service."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter

from rrl_agents.ranges import check_known, check_ranges
from services.shared.security.server import SecurityConfig

DEFAULT_MAX_BATCH_ROWS = 128
DEFAULT_BUCKETS = (1, 2, 4, 8, 16, 32, 64, DEFAULT_MAX_BATCH_ROWS)
"""Compiled batch sizes. Eight programs take a few seconds to compile, and powers of two keep the
padding small for any number of rows."""

BACKENDS = ("auto", "jax", "onnx")
DTYPES = ("float32", "bfloat16")

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchingConfig:
    """Batch sizes and queue limits.

    Attributes:
        buckets: Compiled batch sizes in rows, ascending; batches are padded to one of them. The
            largest also limits the rows of a request.
        max_queue_rows: Most rows in the queue; requests beyond it are refused. 4,096 Atari states
            are 116 MB and about two seconds of work for two CPU cores.
        max_queue_bytes: Most bytes of observations in the queue.
        longest_wait_seconds: Longest deadline, in seconds; also applies to requests without one.
        stream_credit_rows: Most rows in flight on one stream.
    """

    buckets: tuple[int, ...] = DEFAULT_BUCKETS
    max_queue_rows: int = 4096
    max_queue_bytes: int = 256 * 2**20
    longest_wait_seconds: float = 60.0
    stream_credit_rows: int = 1024

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.buckets or min(self.buckets) < 1 or [*self.buckets] != sorted({*self.buckets}):
            raise ValueError(f"buckets are {self.buckets}; give ascending sizes from 1 on")
        for name in ("max_queue_rows", "stream_credit_rows"):
            if getattr(self, name) < self.max_batch_rows:
                raise ValueError(
                    f"{name} is {getattr(self, name)} and the largest batch {self.max_batch_rows} "
                    "rows; give at least as many, or the largest request could never be taken"
                )
        check_ranges(self, "max_queue_bytes", "longest_wait_seconds", above=0)

    @property
    def max_batch_rows(self) -> int:
        """Most rows in one request: those of the largest batch."""
        return self.buckets[-1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One teacher to serve, of any kind.

    Attributes:
        reference: The teacher, as for `services.library.teacher_references.open_reference`.
        name: Name on the server; several checkpoints with one name become versions 1, 2, ...
    """

    reference: str
    name: str = "teacher"

    def __post_init__(self) -> None:
        """Check the name: it is part of URLs, metrics and health names."""
        if _MODEL_NAME.fullmatch(self.name) is None:
            raise ValueError(
                f"model name {self.name!r}; give 1 to 64 letters, digits, '_', '-' or '.', "
                "beginning with a letter or digit"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """Addresses, backend, reloading and shutdown of the service.

    Attributes:
        host: Address to listen on; 0.0.0.0 admits other machines.
        port: TCP port; 0 picks a free one.
        unix_socket: Path of a Unix socket to also serve gRPC on.
        shared_memory: Read observations from memory that clients on this host share; our clients
            offer it automatically.
        metrics_port: TCP port of the Prometheus page; 0 picks a free one, None serves no page.
        metrics_host: Address that the page listens on; 0.0.0.0 admits other machines.
        backend: jax, onnx (ONNX Runtime, on the CPU), or auto, which measures both at the start and
            takes the faster one.
        dtype: float32, or bfloat16 (jax only; for GPUs).
        reload_seconds: Seconds between checks of every checkpoint for new weights; by default only
            SIGHUP triggers a check.
        kept_versions: Versions of a reloaded model to keep for requests that pin them.
        lame_duck_seconds: Seconds to accept requests after SIGTERM, while health already says
            NOT_SERVING.
        connection_age_seconds: Age, in seconds, at which clients are asked to reconnect, so that
            new replicas get their share of the load; by default never.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    unix_socket: str | None = None
    shared_memory: bool = True
    metrics_port: int | None = 9101
    metrics_host: str = "127.0.0.1"
    backend: str = "auto"
    dtype: str = "float32"
    reload_seconds: float | None = None
    kept_versions: int = 2
    lame_duck_seconds: float = 0.0
    connection_age_seconds: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherConfig(ServiceConfig):
    """Config of a teacher service; further attributes as in `ServiceConfig`.

    Attributes:
        models: The models; the first one answers requests that name no model.
        batching: Batch sizes and queue limits.
        security: TLS and tokens.
    """

    models: tuple[ModelConfig, ...]
    batching: BatchingConfig = dataclasses.field(default_factory=BatchingConfig)
    security: SecurityConfig = dataclasses.field(default_factory=SecurityConfig)

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.models:
            raise ValueError("no model given; name at least one checkpoint, e.g. Pong/dqn-bundled")
        check_ranges(self, "port", "metrics_port", least=0, most=65535)
        check_ranges(self, "kept_versions", "connection_age_seconds", least=1)
        check_ranges(self, "lame_duck_seconds", least=0)
        check_ranges(self, "reload_seconds", above=0)
        check_known(self, "backend", BACKENDS)
        check_known(self, "dtype", DTYPES)
        if self.metrics_port is not None and self.metrics_port == self.port != 0:
            raise ValueError(f"port and metrics_port are both {self.port}; give each its own")
        for name, count in Counter(model.name for model in self.models).items():
            if count > self.kept_versions:
                raise ValueError(
                    f"{count} checkpoints are named {name!r} and kept_versions is "
                    f"{self.kept_versions}, so the first would retire at once; keep {count}"
                )


def buckets_up_to(max_batch_rows: int) -> tuple[int, ...]:
    """Batch sizes up to a largest one: powers of two, and the largest itself.

    Raises:
        ValueError: It is below 1.
    """
    if max_batch_rows < 1:
        raise ValueError(f"max_batch_rows is {max_batch_rows}; give at least 1")
    powers = (2**exponent for exponent in range(max_batch_rows.bit_length()))
    return tuple(sorted({*powers, max_batch_rows}))
