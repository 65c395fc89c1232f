"""Batches from several replay shards: each batch from one shard, the shards in turn.

    shard 0 ── ReplayReader ──┐
    shard 1 ── ReplayReader ──┴──▶ ShardedReader ──▶ Sample, and its shard

Each shard's rate limiter holds the replay ratio for its own items. A shard without a batch, since
its actors are slow or gone, is skipped; it does not hold up the others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from rrl_agents.types import Array
from services.replay.connection import ReplayTimeout
from services.replay.reader import ReplayReader, Sample

_TURN_SECONDS = 0.02
"""Wait for a shard without a batch before the next one is tried."""


class ShardSample(NamedTuple):
    """A sample and its shard.

    Attributes:
        sample: The batch and the keys of its rows in that shard.
        shard: Index of the shard.
    """

    sample: Sample
    shard: int


class ShardedReader:
    """Draws batches from shards in turn.

    Args:
        readers: One per shard, in their order.
    """

    def __init__(self, readers: Sequence[ReplayReader]) -> None:
        if not readers:
            raise ValueError("there is no replay shard to read from; give at least one")
        self._readers = tuple(readers)
        self._next = 0

    def sample_mixed(self, teacher_share: float, timeout_seconds: float) -> ShardSample:
        """One batch, from the next shard that has one.

        Args:
            teacher_share: As `ReplayReader.sample_mixed`.
            timeout_seconds: Longest wait for any.

        Raises:
            ReplayTimeout: no shard has one in time.
            SamplingFailed: a shard's server does not answer.
            UserError: as `ReplayReader.sample_mixed`.
        """
        turn_seconds = _TURN_SECONDS if len(self._readers) > 1 else timeout_seconds
        end = time.monotonic() + timeout_seconds
        while True:
            shard = self._next
            self._next = (shard + 1) % len(self._readers)
            left = max(0.0, end - time.monotonic())
            try:
                sample = self._readers[shard].sample_mixed(teacher_share, min(turn_seconds, left))
                return ShardSample(sample, shard)
            except ReplayTimeout:
                if left <= turn_seconds:
                    raise

    def update_priorities(self, drawn: ShardSample, priorities: Array) -> None:
        """Send priorities back to a sample's shard, as `ReplayReader.update_priorities`."""
        self._readers[drawn.shard].update_priorities(drawn.sample, priorities)

    @property
    def largest_priority(self) -> float:
        """The largest priority sent back to any shard so far, 0 before the first."""
        return max(reader.largest_priority for reader in self._readers)

    def close(self) -> None:
        """Disconnect; the next samples come over new connections."""
        for reader in self._readers:
            reader.close()
