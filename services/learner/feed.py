"""What the learner asks of its replay: batches, clocks, priorities, checkpoints.

    Learner ── take, update_priorities, save ──▶ Feed
                                                  ├── ReplayFeed: shards of Reverb over the network
                                                  └── LocalFeed: tables in this process

The learner knows this interface alone; the code that builds the learner chooses the feed, and
with it what has to be imported.
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
    """Replay does not answer now."""


class ReplayLost(Exception):
    """Replay does not have the run's tables any more: resume from the newest checkpoint."""


class Block(NamedTuple):
    """Batches of as many updates.

    Attributes:
        drawn: The batches, from `place_block`, and where their rows lie in replay.
        answered: Share of each batch's rows with an answer of the teacher, in [0, 1].
    """

    drawn: ShardSample
    answered: Sequence[float]


class Feed(Protocol):
    """The replay of one learner, which calls it from one thread."""

    def restore(self, checkpoint: int, stop: threading.Event) -> bool:
        """Go back to the tables of a checkpoint.

        Args:
            checkpoint: Its number, 0 for empty tables.
            stop: Ends a wait.

        Returns:
            Whether they are there; False when stopped before.

        Raises:
            TablesUnusable: there are no such tables, or they cannot be loaded.
        """

    def save(self, checkpoint: int, keep: Sequence[int]) -> None:
        """Save the tables as those of a checkpoint.

        Args:
            checkpoint: Its number.
            keep: Numbers of the checkpoints to keep beside it.

        Raises:
            ReplayLost: there are other tables now.
            ReplayTimeout: replay does not answer.
            SaveFailed: no space for it, or no permission.
        """

    def count(self) -> None:
        """Read the run's data clocks from the tables.

        Raises:
            ReplayTimeout: replay does not answer.
        """

    def count_if_due(self, period_seconds: float) -> None:
        """Check that the tables are unchanged and count, unless that was done a moment ago.

        Raises:
            ReplayLost: there are other tables now.
            ReplayUnreachable: replay does not answer.
        """

    @property
    def lacks_teacher_data(self) -> bool:
        """Whether the teacher's data is to be drawn in this process now, and is not there yet."""

    def read_teacher_data(self) -> None:
        """Bring the teacher's data into this process, once a checkpoint has it in replay's tables.

        Raises:
            ReplayUnreachable: replay does not answer; nothing has been read.
            ReplayLost: replay has given part of the data, and not all of it arrived.
            UserError: the data is damaged or missing, or cannot be kept.
        """

    def fetch_ahead(self, updates: range) -> None:
        """Begin to fetch the batches of some updates, in the proportions of the present progress.

        Returns at once.
        """

    def take(self, updates: range) -> Block | None:
        """The batches of some updates, as `fetch_ahead`; None where none come in time.

        Raises:
            ReplayUnreachable: replay does not answer.
        """

    def update_priorities(self, block: Block, priorities: Array) -> None:
        """Give the student's rows of a block new priorities; returns at once.

        Args:
            block: As it was taken.
            priorities: float32 [K, B] of a whole block, on any device; they may still be computing.
                Those of batches that the block does not have say nothing.
        """

    @property
    def largest_priority(self) -> float:
        """The largest priority given so far, 0 before the first."""

    def wait_until_reachable(self, error: ReplayUnreachable, stop: threading.Event) -> None:
        """Wait for replay that does not answer, without a timeout.

        Raises:
            ReplayLost: it has other tables by then.
        """

    def close(self) -> None:
        """Release what it holds."""


MakeFeed: TypeAlias = Callable[[LearnerConfig, Recipe, RunClock, LearnerMetrics], Feed]
"""Makes the feed of one learner: for its config, method, clock and metrics."""
