"""What a teacher service can be told."""

from __future__ import annotations

import dataclasses

DEFAULT_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Compiled batch sizes. Eight programs take a few seconds to compile; with powers of two the
waste of any number of rows stays small, whatever the device."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchingConfig:
    """How queued rows become batches.

    Attributes:
        buckets: Batch sizes in rows that are compiled, ascending; a batch is padded to one.
        max_batch_rows: Most rows in one request; a larger one is refused.
        max_queue_rows: Most rows waiting at once; beyond it requests are refused. 4,096 Atari
            states are 116 MB and about two seconds of work for two CPU cores.
        longest_wait_seconds: Deadline of requests whose caller set none or a later one.
    """

    buckets: tuple[int, ...] = DEFAULT_BUCKETS
    max_batch_rows: int = 512
    max_queue_rows: int = 4096
    longest_wait_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if (
            not self.buckets
            or min(self.buckets) < 1
            or sorted(set(self.buckets)) != [*self.buckets]
        ):
            raise ValueError(f"buckets are {self.buckets}; give ascending sizes from 1 on")
        if not 1 <= self.max_batch_rows <= self.max_queue_rows:
            raise ValueError(
                f"max_batch_rows is {self.max_batch_rows} and max_queue_rows "
                f"{self.max_queue_rows}; need 1 <= max_batch_rows <= max_queue_rows, or the "
                "largest request could never be taken"
            )
        if not self.longest_wait_seconds > 0:
            raise ValueError(
                f"longest_wait_seconds is {self.longest_wait_seconds}; it must be above 0"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """One teacher service.

    Attributes:
        checkpoint: Bundled name, teacher directory or Dopamine checkpoint directory.
        checkpoint_number: Which checkpoint of a Dopamine directory; the newest when None.
        game: Game of a Dopamine checkpoint, which does not say it; None where the card does.
        host: Address to listen on; loopback unless other machines are to ask.
        port: TCP port of the service; 0 takes a free one.
        metrics_port: TCP port of the Prometheus page, on the same host; 0 takes a free one, None
            serves none.
        batching: How queued rows become batches.
    """

    checkpoint: str
    checkpoint_number: int | None = None
    game: str | None = None
    host: str = "127.0.0.1"
    port: int = 50051
    metrics_port: int | None = 9101
    batching: BatchingConfig = dataclasses.field(default_factory=BatchingConfig)

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, port in (("port", self.port), ("metrics_port", self.metrics_port)):
            if port is not None and not 0 <= port <= 65535:
                raise ValueError(f"{name} is {port}; give 0 (any free one) to 65535")
        if self.metrics_port is not None and self.metrics_port == self.port != 0:
            raise ValueError(f"port and metrics_port are both {self.port}; give each its own")
