"""The learner's interface to replay: batches, clocks, priorities, checkpoints.

    Learner ── take, update_priorities, save ──▶ Feed
                                                  ├── ReplayFeed: Reverb shards over the network
                                                  └── LocalFeed: tables in this process

The learner uses this interface only. The code that builds the learner chooses the feed, so that a
process imports only the libraries of its own feed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.types import Array
from services.learner.config import LearnerConfig
from services.learner.metrics import LearnerMetrics
from services.learner.run_clock import RunClock
from services.replay.samples import ShardSample


class ReplayUnreachable(Exception):
    """Replay does not answer now; wait until it does."""


class ReplayLost(Exception):
    """Replay no longer has the tables that the learner uses; resume from the newest checkpoint."""


class Block(NamedTuple):
    """A block of batches, one per update.

    Attributes:
        drawn: The batches, from `place_block`, and the place of their rows in replay.
        answered: Share of each batch's rows that the teacher has labelled, in [0, 1].
    """

    drawn: ShardSample
    answered: Sequence[float]


class Feed(Protocol):
    """The replay of one learner, which uses it from one thread."""

    def restore(self, checkpoint: int, stop: threading.Event) -> bool:
        """Restore the tables of a checkpoint.

        Args:
            checkpoint: Number of the checkpoint; 0 for empty tables.
            stop: Ends a wait.

        Returns:
            Whether the tables are restored; False if `stop` was set first.

        Raises:
            TablesUnusable: the checkpoint has no tables, or they cannot be loaded.
        """

    def save(self, checkpoint: int, keep: Sequence[int]) -> None:
        """Save the tables under the number of a checkpoint.

        Args:
            checkpoint: Number of the checkpoint.
            keep: Numbers of the other checkpoints to keep.

        Raises:
            ReplayLost: replay has other tables now.
            ReplayTimeout: replay does not answer.
            SaveFailed: no space, or no permission.
        """

    def count(self) -> None:
        """Read the run's data clocks from the tables.

        Raises:
            ReplayTimeout: replay does not answer.
        """

    def count_if_due(self, period_seconds: float) -> None:
        """Check that the tables are still the same, and read the clocks.

        Args:
            period_seconds: Does nothing if the last call was less than this long ago.

        Raises:
            ReplayLost: replay has other tables now.
            ReplayUnreachable: replay does not answer.
        """

    @property
    def lacks_teacher_data(self) -> bool:
        """Whether this process must draw from the teacher's data now, but has not read it yet."""

    def read_teacher_data(self) -> None:
        """Read the teacher's data into this process.

        This removes it from replay's tables, so a checkpoint must have saved them before.

        Raises:
            ReplayUnreachable: replay does not answer; nothing has been read.
            ReplayLost: only part of the data arrived.
            UserError: the data is damaged or missing, or cannot be stored.
        """

    def fetch_ahead(self, updates: range) -> None:
        """Start to fetch the batches of some updates; returns at once.

        The present progress determines the share of rows from each table.
        """

    def take(self, updates: range) -> Block | None:
        """The batches of some updates, as from `fetch_ahead`; None if they do not come in time.

        Raises:
            ReplayUnreachable: replay does not answer.
        """

    def update_priorities(self, block: Block, priorities: Array) -> None:
        """Give the student's rows of a block new priorities; returns at once.

        Args:
            block: The block, as from `take`.
            priorities: float32 [K, B] of a whole block, on any device, which may still be computing
                them. Priorities beyond the block's batches are ignored.
        """

    @property
    def largest_priority(self) -> float:
        """The largest priority given so far, 0 before the first."""

    def wait_until_reachable(self, error: ReplayUnreachable, stop: threading.Event) -> None:
        """Wait without a timeout until replay answers again.

        Args:
            error: The failure that led to the wait; it is logged.
            stop: Ends the wait.

        Raises:
            ReplayLost: replay has other tables now.
        """

    def close(self) -> None:
        """Release connections and threads."""


MakeFeed: TypeAlias = Callable[[LearnerConfig, Recipe, RunClock, LearnerMetrics], Feed]
"""Makes the feed of one learner from its config, method, clock and metrics."""
