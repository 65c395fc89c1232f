"""The learner's replay in its own process and thread: it never waits, and no tables are lost.

    LocalTables ── items ──▶ LocalFeed ── blocks of batches ──▶ Learner

Updates keep the replay ratio exactly: online update number U, from 1, is made only after
`min_replay_size + U * update_period` items of the students have been inserted. Play pauses after
the step of all N environments that completes them (`lacks_steps`). That step may insert more: up to
N - 1 items, and n for each episode that it ends. Draws depend only on the run's seed and the number
of the update.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.types import Array
from services.learner.config import LearnerConfig
from services.learner.feed import Block, ReplayUnreachable
from services.learner.metrics import LearnerMetrics
from services.learner.placement import place_block
from services.learner.run_clock import RunClock
from services.replay.item_layout import ItemLayout
from services.replay.local_tables import LocalTables
from services.replay.samples import ShardSample, batches_of, split_rows
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.replay.undecoded_rows import Rows, concatenate


class LocalFeed:
    """A `Feed` from tables in this process.

    Args:
        tables: The tables.
        layout: Shapes of their items.
        config: Seed and exponents of the draws.
        recipe: The method.
        clock: Progress of the run, whose data clocks the feed updates.
        metrics: Unused, as nothing waits here.
    """

    def __init__(
        self,
        tables: LocalTables,
        layout: ItemLayout,
        config: LearnerConfig,
        recipe: Recipe,
        clock: RunClock,
        metrics: LearnerMetrics,
    ) -> None:
        del metrics
        self._tables = tables
        self._layout = layout
        self._recipe = recipe
        self._clock = clock
        self._config = config
        student = config.student
        self._importance_exponent = (
            student.importance_exponent if student.priority_exponent > 0.0 else 0.0
        )
        # The student's table begins with recorded transitions, which count as the teacher's steps.
        self._reloaded_steps = config.targets.teacher_steps if recipe.warm_starts_replay else 0
        self._unread: tuple[Block, Array] | None = None

    def lacks_steps(self, updates: range) -> bool:
        """Whether students must play before these updates, the next ones of the online stage."""
        q_learning = self._recipe.q_learning
        wanted = self._clock.progress.online_updates + len(updates)
        inserted = self._tables.tables[STUDENT_TABLE].inserted - self._reloaded_steps
        return inserted < q_learning.min_replay_size + wanted * q_learning.update_period

    def restore(self, checkpoint: int, stop: threading.Event) -> bool:
        """As `Feed`."""
        del stop
        self._unread = None
        self._tables.restore(checkpoint)
        return True

    def save(self, checkpoint: int, keep: Sequence[int]) -> None:
        """As `Feed`."""
        self._read_priorities()
        self._tables.save(checkpoint, keep)

    def count(self) -> None:
        """As `Feed`."""
        teacher_steps = self._tables.tables[TEACHER_TABLE].inserted
        actor_steps = self._tables.tables[STUDENT_TABLE].inserted
        if self._reloaded_steps:
            teacher_steps = min(actor_steps, self._reloaded_steps)
            actor_steps -= teacher_steps
        progress = self._clock.progress
        if (teacher_steps, actor_steps) != (progress.teacher_steps, progress.actor_steps):
            self._clock.change(teacher_steps=teacher_steps, actor_steps=actor_steps)

    def count_if_due(self, period_seconds: float) -> None:
        """As `Feed`; counts every time, since that costs nothing here."""
        del period_seconds
        self.count()

    @property
    def lacks_teacher_data(self) -> bool:
        """Always False: the teacher's data is in this process."""
        return False

    def read_teacher_data(self) -> None:
        """Do nothing: the teacher's data is in this process."""

    def fetch_ahead(self, updates: range) -> None:
        """Do nothing: `take` draws while the device still computes the previous block."""

    def take(self, updates: range) -> Block | None:
        """As `Feed`; None if a table has too few items yet."""
        progress = self._clock.progress
        share = self._recipe.teacher_share(progress)
        if share < 1.0 and self.lacks_steps(updates):
            return None
        self._read_priorities()
        generators, rows = split_rows(
            self._config.seed, updates, self._recipe.q_learning.batch_size, share
        )
        taken = [self._draw(table, counts, generators) for table, counts in rows.items()]
        sample = batches_of(
            concatenate(taken),
            rows,
            self._layout,
            discount=self._recipe.q_learning.discount,
            importance_exponent=self._importance_exponent,
        )
        answered = np.mean(sample.batch.has_teacher, axis=-1).tolist()
        on_device = sample._replace(batch=place_block(sample.batch, self._config))
        return Block(ShardSample(on_device, 0), answered)

    def update_priorities(self, block: Block, priorities: Array) -> None:
        """As `Feed`; reads the priorities from the device only when they are needed."""
        self._read_priorities()
        self._unread = (block, priorities)

    @property
    def largest_priority(self) -> float:
        """As `Feed`."""
        self._read_priorities()
        return self._tables.tables[STUDENT_TABLE].largest_priority

    def wait_until_reachable(self, error: ReplayUnreachable, stop: threading.Event) -> None:
        """Raise the error: replay in this process is always reachable."""
        del stop
        raise error

    def close(self) -> None:
        """Do nothing: the feed holds no connections or threads."""

    def _draw(
        self, name: str, counts: NDArray[np.int64], generators: Sequence[np.random.Generator]
    ) -> Rows:
        table = self._tables.tables[name]
        keys = [table.draw(count, one) for count, one in zip(counts, generators, strict=True)]
        return table.rows_of(np.concatenate(keys))

    def _read_priorities(self) -> None:
        if self._unread is None:
            return
        (block, priorities), self._unread = self._unread, None
        sample = block.drawn.sample
        rows = sample.from_student
        self._tables.tables[STUDENT_TABLE].update_priorities(
            sample.item_key[rows], np.asarray(priorities)[: len(rows)][rows]
        )
