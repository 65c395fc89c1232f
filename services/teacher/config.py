"""The settings of a teacher service."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter

from rrl_agents.ranges import check_known, check_ranges
from services.shared.security.server import SecurityConfig

DEFAULT_MAX_BATCH_ROWS = 128
DEFAULT_BUCKETS = (1, 2, 4, 8, 16, 32, 64, DEFAULT_MAX_BATCH_ROWS)
"""Compiled batch sizes. Eight programs take a few seconds to compile; with powers of two the
waste of any number of rows stays small, whatever the device."""

BACKENDS = ("auto", "jax", "onnx")
DTYPES = ("float32", "bfloat16")

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchingConfig:
    """How queued rows become batches.

    Attributes:
        buckets: Batch sizes in rows that are compiled, ascending; a batch is padded to one. A
            request has at most as many rows as the largest.
        max_queue_rows: Most rows waiting at once; beyond it requests are refused. 4,096 Atari
            states are 116 MB and about two seconds of work for two CPU cores.
        max_queue_bytes: Most bytes of observations waiting at once.
        longest_wait_seconds: Deadline of requests whose caller set none or a later one.
        stream_credit_rows: Rows one stream may have under way.
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
        reference: Which teacher, as `services.library.door.open_reference` takes it.
        name: Name on the server; several checkpoints of one name become its versions 1, 2, ...
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
    """How the service listens, computes, renews its weights and ends.

    Attributes:
        host: Address to listen on; 0.0.0.0 lets other machines ask.
        port: TCP port; 0 takes a free one.
        unix_socket: Path of a Unix socket that serves gRPC, too.
        shared_memory: Read observations from memory that clients on this host share; they offer
            it by themselves.
        metrics_port: TCP port of the Prometheus page; 0 takes a free one, None serves none.
        metrics_host: Address that the page is served on; 0.0.0.0 lets other machines read it.
        backend: jax, onnx (ONNX Runtime, on the CPU), or auto: the faster one, measured at start.
        dtype: float32, or bfloat16 (jax only; for GPUs).
        reload_seconds: How often to look for new weights of every checkpoint; by default only when
            SIGHUP comes.
        kept_versions: Versions of a reloaded model that stay for requests that pin them.
        lame_duck_seconds: How long requests are still taken after SIGTERM, while health says
            NOT_SERVING already.
        connection_age_seconds: Age at which clients are asked to reconnect, so that replicas
            that came later get their share; by default never.
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
    """One teacher service; further attributes are those of `ServiceConfig`.

    Attributes:
        models: What is served; the first one answers requests that name no model.
        batching: How queued rows become batches.
        security: Encryption and tokens.
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
    """Batch sizes for batches of at most so many rows: powers of two, and the largest itself.

    Raises:
        ValueError: It is below 1.
    """
    if max_batch_rows < 1:
        raise ValueError(f"max_batch_rows is {max_batch_rows}; give at least 1")
    powers = (2**exponent for exponent in range(max_batch_rows.bit_length()))
    return tuple(sorted({*powers, max_batch_rows}))
