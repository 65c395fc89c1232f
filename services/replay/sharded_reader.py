"""Batches from several replay shards: each batch from one, the shards in turn.

    shard 0 ── ReplayReader ──┐
    shard 1 ── ReplayReader ──┴──▶ ShardedReader ──▶ Sample, and which shard it is of

Each shard's rate limiter holds the replay ratio for its own items. A shard that has nothing to give
yet, since its actors are slow or gone, is passed over; it does not hold up the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rrl_agents.types import Array
from services.replay.connection import ReplayTimeout
from services.replay.reader import ReplayReader, Sample

_TURN_SECONDS = 0.02
"""How long a shard that is behind is waited for before the next one is asked."""


class ShardSample(NamedTuple):
    """A sample, and where it is of.

    Attributes:
        sample: The batch and where its rows lie in their shard.
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
        # Of each shard, when it was first asked in vain since it last gave a batch.
        self._waits_since: list[float | None] = [None] * len(readers)

    def sample_mixed(self, teacher_share: float, timeout_seconds: float) -> ShardSample:
        """One batch, from the next shard that has one.

        Args:
            teacher_share: As `ReplayReader.sample_mixed`.
            timeout_seconds: Longest wait for any.

        Raises:
            ReplayTimeout: no shard has one in time.
            SamplingFailed: a shard's server has gone.
            UserError: as `ReplayReader.sample_mixed`.
        """
        return self._take_turns(
            lambda reader, seconds: reader.sample_mixed(teacher_share, seconds), timeout_seconds
        )

    def update_priorities(self, drawn: ShardSample, priorities: Array) -> None:
        """Send priorities back to where a sample is of, as `ReplayReader.update_priorities`."""
        self._readers[drawn.shard].update_priorities(drawn.sample, priorities)

    @property
    def largest_priority(self) -> float:
        """The largest priority sent back to any shard so far, 0 before the first."""
        return max(reader.largest_priority for reader in self._readers)

    def silent(self, seconds: float) -> list[int]:
        """Shards that have been asked for so long and gave nothing; named again as much later."""
        now = time.monotonic()
        found = [
            shard
            for shard, since in enumerate(self._waits_since)
            if since is not None and now - since >= seconds
        ]
        for shard in found:
            self._waits_since[shard] = now
        return found

    def reconnect(self, shard: int) -> None:
        """Stop fetching from a shard; what is asked for next comes over new connections."""
        self._readers[shard].close()

    def close(self) -> None:
        """Stop fetching; what is asked for afterwards is fetched over new connections."""
        self._waits_since = [None] * len(self._readers)
        for reader in self._readers:
            reader.close()

    def _take_turns(
        self, draw: Callable[[ReplayReader, float], Sample], timeout_seconds: float
    ) -> ShardSample:
        turn_seconds = _TURN_SECONDS if len(self._readers) > 1 else timeout_seconds
        end = time.monotonic() + timeout_seconds
        while True:
            shard = self._next
            self._next = (shard + 1) % len(self._readers)
            left = max(0.0, end - time.monotonic())
            try:
                sample = draw(self._readers[shard], min(turn_seconds, left))
            except ReplayTimeout:
                if self._waits_since[shard] is None:
                    self._waits_since[shard] = time.monotonic()
                if left <= turn_seconds:
                    raise
            else:
                self._waits_since[shard] = None
                return ShardSample(sample, shard)
