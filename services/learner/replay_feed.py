"""The learner's feed from replay shards over the network: batches, step counts, checkpoints.

shards ── items ──▶ ShardedReader ── blocks of batches, on a thread ──┐
  │  ▲                                                                ▼
  │  └── save, restore ── ReplayCheckpoints ── ReplayFeed ──▶ Learner
  └── counts ───────────────────────────▲

The thread samples and decodes the next block, and moves it to the device, while the device
computes.
"""

from __future__ import annotations

import concurrent.futures
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.types import Array, Stage
from services.learner.config import LearnerConfig, ShardAddress
from services.learner.feed import Block, ReplayLost, ReplayUnreachable
from services.learner.metrics import LearnerMetrics
from services.learner.placement import place_block, place_frames
from services.learner.replay_checkpoints import ReplayCheckpoints
from services.learner.run_clock import RunClock
from services.replay.connection import table_counts
from services.replay.failures import ReplayTimeout, SamplingFailed
from services.replay.item_layout import ItemLayout
from services.replay.kept_rows import KeptRows, draw_numbered, load
from services.replay.reader import ReplayReader, ShardedReader
from services.replay.samples import Sample, ShardSample
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.replay.table_reader import TableReader
from services.shared.errors import UserError, user_errors

TEACHER_DATA_FILE = "teacher_data.npz"
"""File in the run's folder with the teacher's data, if the learner keeps that data."""

_SAMPLE_TIMEOUT_SECONDS = 1.0


class _Request(NamedTuple):
    """A block that is being fetched, with its updates and its share of the teacher's rows."""

    updates: range
    teacher_share: float
    block: concurrent.futures.Future[Block | None]


class ReplayFeed:
    """A `Feed` from replay shards.

    Args:
        config: Addresses of the shards, and the shapes of their items.
        recipe: The method.
        clock: Progress of the run, restored; the feed updates its data clocks.
        metrics: Counts waits and outages.

    Attributes:
        reader: Reads batches, and sends their priorities.
        checkpoints: Checkpoints of all shards.
    """

    def __init__(
        self,
        config: LearnerConfig,
        recipe: Recipe,
        clock: RunClock,
        metrics: LearnerMetrics,
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._recipe = recipe
        self._config = config
        self._shards = [shard.data for shard in config.replay]
        # The student's table begins with recorded transitions, which count as the teacher's steps.
        self._reloaded_steps = config.targets.teacher_steps if recipe.warm_starts_replay else 0
        self.reader = ShardedReader([_reader(shard, config, recipe) for shard in config.replay])
        self.checkpoints = ReplayCheckpoints(
            [shard.control for shard in config.replay], config.peers
        )
        self._counted_at: float | None = None
        self._layout = _layout(config, recipe)
        self._keeps_teacher_data = config.keeps_teacher_data
        self._teacher_file = config.run / TEACHER_DATA_FILE
        if clock.progress.stage is Stage.COLLECT:
            # The teacher's data will be collected again.
            self._teacher_file.unlink(missing_ok=True)
        self._teacher_table = TableReader(self._shards, TEACHER_TABLE, self._layout)
        # The teacher's items with frame numbers, and the frames, on the device if it is a GPU.
        self._numbered: KeptRows | None = None
        self._frames: NDArray[Any] | jax.Array | None = None
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "replay-blocks")
        self._ahead: _Request | None = None

    def restore(self, checkpoint: int, stop: threading.Event) -> bool:
        """As `Feed`; waits for shards that are down."""
        return self.checkpoints.restore_all(checkpoint, stop)

    def save(self, checkpoint: int, keep: Sequence[int]) -> None:
        """As `Feed`, in all shards."""
        self.checkpoints.save_all(checkpoint, keep)

    def count(self) -> None:
        """Read the data clocks from the shards' tables, which count each item once.

        Raises:
            ReplayTimeout: a shard does not answer.
        """
        counts = [table_counts(address) for address in self._shards]
        teacher_steps = sum(of_shard[TEACHER_TABLE].inserted for of_shard in counts)
        if self._keeps_teacher_data and self._clock.progress.stage is not Stage.COLLECT:
            # Once the learner has read the table, the table accepts one more step, which is unused.
            teacher_steps = self._clock.progress.teacher_steps
        actor_steps = sum(of_shard[STUDENT_TABLE].inserted for of_shard in counts)
        if self._reloaded_steps:
            teacher_steps = min(actor_steps, self._reloaded_steps)
            actor_steps -= teacher_steps
        self._clock.change(teacher_steps=teacher_steps, actor_steps=actor_steps)
        self._counted_at = time.monotonic()

    def count_if_due(self, period_seconds: float) -> None:
        """Check that the tables are still the same, and read the clocks.

        Args:
            period_seconds: Does nothing if the last call was less than this long ago.

        Raises:
            ReplayLost: a shard restarted with other tables.
            ReplayUnreachable: a shard does not answer.
        """
        now = time.monotonic()
        if self._counted_at is not None and now - self._counted_at < period_seconds:
            return
        try:
            self.checkpoints.check_unchanged()
            self.count()
        except ReplayTimeout as error:
            raise ReplayUnreachable(str(error)) from error

    @property
    def lacks_teacher_data(self) -> bool:
        """Whether this process must draw from the teacher's data now, but has not read it yet."""
        return (
            self._keeps_teacher_data
            and self.reader.teacher_data is None
            and self._recipe.teacher_share(self._clock.progress) > 0.0
        )

    def read_teacher_data(self) -> None:
        """Read the teacher's data from the run's own file, or from replay into that file.

        Replay gives each item once, so the teacher's tables are empty afterwards. A checkpoint must
        have saved them before.

        Raises:
            ReplayUnreachable: a shard does not answer; nothing has been read.
            ReplayLost: the connection broke during the read.
            UserError: the file is damaged or cannot be written; or it is missing, although the data
                has been read from replay before.
        """
        if self._teacher_file.exists():
            with user_errors((ValueError, OSError)):
                kept = load(self._teacher_file, self._layout)
        else:
            kept = self._read_from_replay()
            with user_errors((OSError,)):
                kept.save(self._teacher_file)
        self.reader.teacher_data = kept
        self._numbered = kept.numbered()
        self._frames = place_frames(kept.frames, self._config)
        self._clock.change(teacher_steps=kept.count)
        logging.getLogger(__name__).info(
            "the learner keeps %d transitions of the teacher, with %d frames, in memory",
            kept.count,
            len(kept.frames),
        )

    def _read_from_replay(self) -> KeptRows:
        try:
            is_empty = self._teacher_table.size == 0
        except ReplayTimeout as error:
            raise ReplayUnreachable(str(error)) from error
        # The first update needs the data: after it, replay holds at most steps that came too late.
        if is_empty or self._clock.progress.learner_updates > 0:
            raise UserError(
                f"the teacher's data of this run was in {self._teacher_file}, which is missing, "
                "and replay no longer has it: restore the file, or start another run"
            )
        try:
            return self._teacher_table.read()
        except (ReplayTimeout, SamplingFailed) as error:
            # Items in transit are lost, but the checkpoint has all of them.
            raise ReplayLost(f"only part of the teacher's data was read: {error}") from error

    def fetch_ahead(self, updates: range) -> None:
        """Start to fetch the batches of some updates; returns at once.

        The present progress determines the share of rows from each table.
        """
        teacher_share = self._recipe.teacher_share(self._clock.progress)
        if self._ahead is not None:
            if self._ahead[:2] == (updates, teacher_share):
                return
            # A stage has ended, and this block was for the old stage: drop it.
            concurrent.futures.wait([self._ahead.block])
        self._release_unused(teacher_share)
        block = self._thread.submit(self._fetch, updates, teacher_share)
        self._ahead = _Request(updates, teacher_share, block)

    def _release_unused(self, teacher_share: float) -> None:
        """Free data that no later update draws from: a run never returns to an earlier stage."""
        if teacher_share < 1.0:
            self._numbered = self._frames = None
        if teacher_share == 0.0:
            self.reader.teacher_data = None

    def take(self, updates: range) -> Block | None:
        """The batches of some updates, as from `fetch_ahead`; None if they do not come in time.

        Raises:
            ReplayUnreachable: a shard does not answer.
        """
        began = time.monotonic()
        self.fetch_ahead(updates)
        assert self._ahead is not None
        request, self._ahead = self._ahead, None
        try:
            return request.block.result()
        except SamplingFailed as error:
            raise ReplayUnreachable(str(error)) from error
        finally:
            self._metrics.sample_wait_seconds += time.monotonic() - began

    def _fetch(self, updates: range, teacher_share: float) -> Block | None:
        frames = None
        if self._numbered is not None and teacher_share == 1.0:
            drawn, frames = ShardSample(self._draw(self._numbered, updates), shard=0), self._frames
        else:
            try:
                drawn = self.reader.sample_mixed(teacher_share, _SAMPLE_TIMEOUT_SECONDS, updates)
            except ReplayTimeout:
                return None
        batch = drawn.sample.batch
        answered = np.mean(batch.has_teacher, axis=-1).tolist()
        on_device = drawn.sample._replace(batch=place_block(batch, self._config, frames))
        return Block(drawn._replace(sample=on_device), answered)

    def _draw(self, kept: KeptRows, updates: range) -> Sample:
        """Draw batches of the teacher's rows alone, with frame numbers in place of frames."""
        q_learning = self._recipe.q_learning
        return draw_numbered(
            kept,
            self._layout,
            seed=self._config.seed,
            updates=updates,
            batch_size=q_learning.batch_size,
            discount=q_learning.discount,
        )

    def update_priorities(self, block: Block, priorities: Array) -> None:
        """As `Feed`, sent to the shard that the block came from."""
        self.reader.update_priorities(block.drawn, priorities)

    @property
    def largest_priority(self) -> float:
        """As `Feed`, over all shards."""
        return self.reader.largest_priority

    def wait_until_reachable(self, error: ReplayUnreachable, stop: threading.Event) -> None:
        """Wait without a timeout until all shards answer again.

        Raises:
            ReplayLost: a shard restarted with other tables.
        """
        log = logging.getLogger(__name__)
        log.warning("replay is unreachable: %s", error)
        self._metrics.replay_outages += 1
        # Prefetched samples belong to connections that may be dead.
        self._disconnect()
        if self.checkpoints.wait_until_reachable(stop):
            log.info("replay is reachable again with the same tables: nothing is lost")

    def close(self) -> None:
        """Disconnect."""
        self._disconnect()
        self._thread.shutdown()
        self.checkpoints.close()

    def _disconnect(self) -> None:
        if self._ahead is not None:
            concurrent.futures.wait([self._ahead.block])
            self._ahead = None
        self.reader.close()


def _layout(config: LearnerConfig, recipe: Recipe) -> ItemLayout:
    return ItemLayout(
        frame_shape=config.spec.frame_shape,
        stack_size=config.spec.stack_size,
        n_step=recipe.q_learning.n_step,
        num_actions=config.spec.num_actions,
        # Writers clip rewards; readers take them as they are.
        clips_rewards=False,
        frame_dtype=config.spec.frame_dtype,
    )


def _reader(shard: ShardAddress, config: LearnerConfig, recipe: Recipe) -> ReplayReader:
    q_learning, student = recipe.q_learning, config.student
    return ReplayReader(
        shard.data,
        _layout(config, recipe),
        q_learning.discount,
        q_learning.batch_size,
        block_batches=config.updates_per_block,
        seed=config.seed,
        importance_exponent=student.importance_exponent if student.priority_exponent > 0.0 else 0.0,
    )
