"""The learner's side of replay: batches in, priorities out.

    Reverb table --samples--> SamplePrefetcher (a thread) --rows--> ReplayReader --> Sample
      ^                         |                                     |
      |                         +-- ReplayTimeout: none in time       v
      +----- priorities ------- PriorityUpdates (a thread) <-- update_priorities: the learner

    shard 0 -- ReplayReader --+
    shard 1 -- ReplayReader --+--> ShardedReader --> Sample, and its shard

Items are decoded into n-step transitions here (`item_layout.decode_batch`). In a mixed batch the
teacher's rows come first; otherwise the order of rows has no meaning. A connection that died
without an error is replaced (`stalls`).
"""

from __future__ import annotations

import gc
import time
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rrl_agents.types import Array, Batch
from services.replay.failures import ReplayTimeout, SamplingFailed
from services.replay.item_layout import ItemLayout
from services.replay.kept_rows import KeptRows
from services.replay.priority_updates import PriorityUpdates
from services.replay.sample_prefetcher import SamplePrefetcher
from services.replay.samples import Sample, ShardSample, batches_of, split_rows
from services.replay.stalls import StalledSampleDetector
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.replay.undecoded_rows import concatenate

BLOCKS_AHEAD = 1
"""Complete blocks prefetched from each table."""
SAMPLERS = 2
"""Reverb's threads for each table. A second one adds 2% to the CPU time of a batch, four add 8%
(`benchmarks.replay`, two cores)."""
_TURN_SECONDS = 0.02
"""Longest wait for one shard's batch before the next shard is tried."""


class ReplayReader:
    """Draws batches; connects to a table at its first use.

    Attributes:
        teacher_data: All items of the teacher's table, if they are drawn in this process; None if
            Reverb draws them.
    """

    def __init__(
        self,
        address: str,
        layout: ItemLayout,
        discount: float,
        batch_size: int,
        *,
        block_batches: int = 1,
        importance_exponent: float = 0.0,
        seed: int = 0,
        samplers: int = SAMPLERS,
    ) -> None:
        """Store the settings; nothing connects yet.

        Args:
            address: "host:port" of the replay server.
            layout: Shapes of the items.
            discount: gamma, in [0, 1], per step.
            batch_size: Rows B of a batch.
            block_batches: Batches K that are fetched together.
            importance_exponent: beta, in [0, 1], of the rows' importance weights; with 0 all
                weights are 1.
            seed: Seed of the draws between the tables, and of those from `teacher_data`.
            samplers: Most threads that Reverb uses for each table.
        """
        self._address = address
        self._layout = layout
        self._discount = discount
        self._batch_size = batch_size
        self._block_rows = batch_size * block_batches
        self._importance_exponent = importance_exponent
        self._samplers = samplers
        self._prefetchers: dict[str, SamplePrefetcher] = {}
        self._stalls = StalledSampleDetector(address)
        self._priority_updates: PriorityUpdates | None = None
        self._seed = seed
        self.teacher_data: KeptRows | None = None

    @property
    def samples_ahead(self) -> int:
        """Most samples of a table that count as sampled but are not in a batch yet.

        One block is in Reverb's sampler, one is being assembled and `BLOCKS_AHEAD` are complete.
        With mixed batches, one more may be partly used.
        """
        return self._block_rows * (BLOCKS_AHEAD + 2)

    def sample(self, table: str, timeout_seconds: float) -> Sample:
        """One batch from one table.

        Args:
            table: `TEACHER_TABLE` or `STUDENT_TABLE`.
            timeout_seconds: Longest wait for the rate limiter.

        Raises:
            ReplayTimeout: no batch in time; the next call continues the wait.
            SamplingFailed: the server does not answer, or refuses to sample.
            UserError: the table is missing, or holds items of other shapes.
        """
        drawn = self._sample({table: np.full(1, self._batch_size)}, timeout_seconds, [])
        return Sample(
            Batch(*(column[0] for column in drawn.batch)), *(keys[0] for keys in drawn[1:])
        )

    def sample_mixed(self, teacher_share: float, timeout_seconds: float, updates: range) -> Sample:
        """Batches whose rows are each from the teacher's table with probability `teacher_share`.

        Args:
            teacher_share: In [0, 1]; with 0 and with 1, the other table is not read at all.
            timeout_seconds: Longest wait for the rate limiters.
            updates: Numbers of the K updates that the batches are for. The draws of an update are
                the same whatever the size of its block, and also in a resumed run.

        Raises:
            ReplayTimeout: not enough rows in time.
            SamplingFailed: the server does not answer, or refuses to sample.
            UserError: a table is missing, or holds items of other shapes.
        """
        generators, rows = split_rows(self._seed, updates, self._batch_size, teacher_share)
        return self._sample(rows, timeout_seconds, generators)

    def update_priorities(self, sample: Sample, priorities: Array) -> None:
        """Send the priorities of the student's rows back to their table; returns at once.

        A thread sends them, together with those of other batches in one request. If it is too slow,
        the oldest ones are dropped; items that have left the table are skipped.

        Args:
            sample: The sample, as it was drawn.
            priorities: float, at least 0, in the shape of the sample's keys, or with more batches
                at the end, which are ignored. The array may be on any device and still being
                computed. The table's selector raises priorities to its exponent.
        """
        if self._priority_updates is None:
            self._priority_updates = PriorityUpdates(self._address, STUDENT_TABLE)
        self._priority_updates.put(sample.item_key, sample.from_student, priorities)

    @property
    def largest_priority(self) -> float:
        """The largest priority sent back so far, 0 before the first; a priority for new items.

        Follows `update_priorities` within milliseconds; reading it does not wait for a device.
        """
        return self._priority_updates.largest if self._priority_updates is not None else 0.0

    def close(self) -> None:
        """Send pending priorities and disconnect; the next sample opens new connections."""
        self._stalls.reset()
        if self._priority_updates is not None:
            self._priority_updates.close()
            self._priority_updates = None
        for prefetcher in self._prefetchers.values():
            prefetcher.close()
        if self._prefetchers:
            self._prefetchers.clear()
            # TensorFlow's objects form reference cycles and hold the connections; as long as they
            # exist, gRPC gives new clients the same connection, dead or not.
            gc.collect()

    def _sample(
        self,
        rows: Mapping[str, NDArray[np.int64]],
        timeout_seconds: float,
        generators: Sequence[np.random.Generator],
    ) -> Sample:
        """Draw a block of K batches.

        Args:
            rows: Table -> int64 [K], the rows of each batch that come from it.
            timeout_seconds: Longest wait for the rate limiters.
            generators: The random generator of each batch, for draws from `teacher_data`.
        """
        kept = self.teacher_data
        totals = {
            table: int(counts.sum())
            for table, counts in rows.items()
            if table != TEACHER_TABLE or kept is None
        }
        self._wait_for(totals, timeout_seconds)
        taken = {table: self._prefetcher(table).take(count) for table, count in totals.items()}
        if kept is not None and TEACHER_TABLE in rows:
            taken[TEACHER_TABLE] = kept.draw(kept.pick(generators, rows[TEACHER_TABLE]))
        return batches_of(
            concatenate([taken[table] for table in rows]),
            rows,
            self._layout,
            discount=self._discount,
            importance_exponent=self._importance_exponent,
        )

    def _wait_for(self, rows: Mapping[str, int], timeout_seconds: float) -> None:
        """Wait for all tables before taking rows from any, so that a timeout loses no rows."""
        self._reconnect_if_stalled(rows)
        deadline = time.monotonic() + timeout_seconds
        try:
            for table, count in rows.items():
                self._prefetcher(table).wait_for(count, max(0.0, deadline - time.monotonic()))
        except ReplayTimeout:
            self._stalls.note_timeout()
            raise
        self._stalls.reset()

    def _reconnect_if_stalled(self, tables: Collection[str]) -> None:
        try:
            if self._stalls.is_stalled(tables):
                self.close()
        except ReplayTimeout as error:
            raise SamplingFailed(str(error)) from error

    def _prefetcher(self, table: str) -> SamplePrefetcher:
        if table not in self._prefetchers:
            self._prefetchers[table] = SamplePrefetcher(
                self._address,
                table,
                self._layout,
                block_rows=self._block_rows,
                blocks_ahead=BLOCKS_AHEAD,
                samplers=self._samplers,
            )
        return self._prefetchers[table]


class ShardedReader:
    """Draws each block of batches from one shard, taking the shards in turn.

    Each shard's rate limiter keeps the replay ratio for its own items. A shard whose actors are
    slow or gone may have no block; it is skipped and does not delay the others.

    Args:
        readers: One reader per shard, in the order of the shards; at least one.
    """

    def __init__(self, readers: Sequence[ReplayReader]) -> None:
        self._readers = tuple(readers)
        self._next = 0

    def sample_mixed(
        self, teacher_share: float, timeout_seconds: float, updates: range
    ) -> ShardSample:
        """One block, from the next shard that has one.

        Args:
            teacher_share: As in `ReplayReader.sample_mixed`.
            timeout_seconds: Longest wait for any shard.
            updates: As in `ReplayReader.sample_mixed`.

        Raises:
            ReplayTimeout: no shard has a block in time.
            SamplingFailed: a shard's server does not answer.
            UserError: as in `ReplayReader.sample_mixed`.
        """
        turn_seconds = _TURN_SECONDS if len(self._readers) > 1 else timeout_seconds
        end = time.monotonic() + timeout_seconds
        while True:
            shard = self._next
            self._next = (shard + 1) % len(self._readers)
            left = max(0.0, end - time.monotonic())
            try:
                sample = self._readers[shard].sample_mixed(
                    teacher_share, min(turn_seconds, left), updates
                )
                return ShardSample(sample, shard)
            except ReplayTimeout:
                if left <= turn_seconds:
                    raise

    @property
    def teacher_data(self) -> KeptRows | None:
        """As `ReplayReader.teacher_data`; all shards share it."""
        return self._readers[0].teacher_data

    @teacher_data.setter
    def teacher_data(self, rows: KeptRows | None) -> None:
        for reader in self._readers:
            reader.teacher_data = rows

    def update_priorities(self, drawn: ShardSample, priorities: Array) -> None:
        """Send priorities back to a sample's shard, as `ReplayReader.update_priorities`."""
        self._readers[drawn.shard].update_priorities(drawn.sample, priorities)

    @property
    def largest_priority(self) -> float:
        """The largest priority sent back to any shard so far, 0 before the first."""
        return max(reader.largest_priority for reader in self._readers)

    def close(self) -> None:
        """Send pending priorities and disconnect; the next samples open new connections."""
        for reader in self._readers:
            reader.close()
