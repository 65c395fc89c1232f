"""All that the learner asks of its replay shards: batches, step counts, checkpoints.

shards ── items ──▶ ShardedReader ──────┐
  │  ▲                                  ▼
  │  └── save, restore ── ReplayCheckpoints ── ReplayFeed ──▶ Learner
  └── counts ──▶ ReplayCounts ──────────▲
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.types import Array
from services.learner.config import LearnerConfig, ShardAddress
from services.learner.metrics import LearnerMetrics
from services.learner.replay_checkpoints import ReplayCheckpoints
from services.learner.replay_counts import ReplayCounts
from services.learner.run_clock import RunClock
from services.replay.item_layout import ItemLayout
from services.replay.reader import (
    ReplayReader,
    ReplayTimeout,
    SamplingFailed,
    ShardedReader,
    ShardSample,
)

COUNT_PERIOD_SECONDS = 1.0
"""Time between two counts of replay's steps, and checks that its tables are still the same."""

_SAMPLE_TIMEOUT_SECONDS = 1.0


class ReplayUnreachable(Exception):
    """A replay shard does not answer now."""


class ReplayFeed:
    """The replay of one learner.

    Args:
        config: Where the shards are, and the shapes of their items.
        recipe: The method.
        clock: Progress of the run; the feed keeps its data clocks.
        metrics: Where waits and outages are counted.
    """

    def __init__(
        self, config: LearnerConfig, recipe: Recipe, clock: RunClock, metrics: LearnerMetrics
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._recipe = recipe
        self._reader = ShardedReader([_reader(shard, config, recipe) for shard in config.replay])
        self._counts = ReplayCounts(
            [shard.data for shard in config.replay],
            reloaded_steps=config.targets.teacher_steps if recipe.reloads_data else 0,
        )
        self._checkpoints = ReplayCheckpoints(
            [shard.control for shard in config.replay], config.peers
        )
        self._counted_at: float | None = None

    def restore(self, checkpoint: int, stop: threading.Event) -> bool:
        """Have all shards serve a checkpoint's tables, as `ReplayCheckpoints.restore_all`."""
        return self._checkpoints.restore_all(checkpoint, stop)

    def save(self, checkpoint: int, keep: Sequence[int]) -> None:
        """Have all shards save their tables, as `ReplayCheckpoints.save_all`."""
        self._checkpoints.save_all(checkpoint, keep)

    def count(self) -> None:
        """Read the data clocks from replay.

        Raises:
            ReplayTimeout: a shard does not answer.
        """
        teacher_steps, actor_steps = self._counts.now()
        self._clock.count(teacher_steps=teacher_steps, actor_steps=actor_steps)
        self._counted_at = time.monotonic()

    def count_if_due(self, period_seconds: float) -> None:
        """Check that the tables are unchanged and count, unless that was done a moment ago.

        Raises:
            ReplayLost: a shard restarted with other tables.
            ReplayUnreachable: a shard does not answer.
        """
        now = time.monotonic()
        if self._counted_at is not None and now - self._counted_at < period_seconds:
            return
        try:
            self._checkpoints.check_unchanged()
            self.count()
        except ReplayTimeout as error:
            raise ReplayUnreachable(str(error)) from error

    def sample(self) -> ShardSample | None:
        """One batch in the proportions of the present progress; None where none comes in time.

        Raises:
            ReplayUnreachable: a shard does not answer.
        """
        teacher_share = self._recipe.teacher_share(self._clock.progress)
        began = time.monotonic()
        try:
            return self._reader.sample_mixed(teacher_share, _SAMPLE_TIMEOUT_SECONDS)
        except ReplayTimeout:
            return None
        except SamplingFailed as error:
            raise ReplayUnreachable(str(error)) from error
        finally:
            self._metrics.sampled(time.monotonic() - began)

    def update_priorities(self, drawn: ShardSample, priorities: Array) -> None:
        """Send a batch's priorities back, as `ReplayReader.update_priorities`."""
        self._reader.update_priorities(drawn, priorities)

    @property
    def largest_priority(self) -> float:
        """The largest priority sent back so far, 0 before the first."""
        return self._reader.largest_priority

    def wait_until_reachable(self, error: ReplayUnreachable, stop: threading.Event) -> None:
        """Wait for shards that do not answer, without a timeout.

        Raises:
            ReplayLost: one restarted with other tables.
        """
        log = logging.getLogger(__name__)
        log.warning("replay is unreachable: %s", error)
        self._metrics.waited_for_replay()
        # Samples under way belong to connections that may be dead.
        self._reader.close()
        if self._checkpoints.wait_until_reachable(stop):
            log.info("replay is reachable again with the same tables: nothing is lost")

    def close(self) -> None:
        """Disconnect."""
        self._reader.close()
        self._checkpoints.close()


def _reader(shard: ShardAddress, config: LearnerConfig, recipe: Recipe) -> ReplayReader:
    q_learning, student = recipe.q_learning, config.student
    layout = ItemLayout(
        frame_shape=config.spec.frame_shape,
        stack_size=config.spec.stack_size,
        n_step=q_learning.n_step,
        num_actions=config.spec.num_actions,
        # Writers clip; a reader takes rewards as they are.
        clips_rewards=False,
        frame_dtype=config.spec.frame_dtype,
    )
    return ReplayReader(
        shard.data,
        layout,
        q_learning.discount,
        q_learning.batch_size,
        seed=config.seed,
        importance_exponent=student.importance_exponent if student.priority_exponent > 0.0 else 0.0,
    )
