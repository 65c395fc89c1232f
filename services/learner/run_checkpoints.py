"""The checkpoints of one run, as its learner saves and restores them."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from pathlib import Path

from rrl_agents.types import Progress
from services.learner.checkpoint_records import (
    RunCheckpoint,
    checkpoints_of,
    newest_checkpoint,
)
from services.learner.checkpointing import check_has_none, next_number, write_checkpoint
from services.learner.feed import Feed
from services.learner.metrics import LearnerMetrics
from services.learner.pending_evaluations import PendingEvaluations
from services.learner.training import Training
from services.replay.failures import ReplayTimeout, SaveFailed
from services.shared.errors import UserError


class RunCheckpoints:
    """Saves a run, and remembers what is saved.

    Args:
        run: Run directory.
        unusable: Numbers to skip, since replay cannot load their tables.
        metrics: Where checkpoints are counted.

    Attributes:
        restored: The checkpoint to resume from; None for a run that starts from scratch.
        number: Of the newest checkpoint, 0 for none.
        saved: Progress of the newest checkpoint; None without one.
        failure: Why the last attempt to save failed; empty where it did not.

    Raises:
        UserError: there are checkpoints, and none is usable.
    """

    def __init__(self, run: Path, unusable: Collection[int], metrics: LearnerMetrics) -> None:
        self._run = run
        self._unusable = frozenset(unusable)
        self._metrics = metrics
        self.failure = ""
        self.restored = newest_checkpoint(run, self._unusable)
        self.number = _number(self.restored)
        self.saved: Progress | None = None
        if self.restored is None:
            check_has_none(run)
        else:
            self.saved = self.restored.record.progress
            metrics.restored(self.restored.number, self.restored.written_at)

    def check_is_newest(self) -> None:
        """Refuse to resume from another checkpoint than the run's newest.

        Raises:
            UserError: another learner saved one between our reading the run and having its lock.
        """
        if _number(newest_checkpoint(self._run, self._unusable)) != self.number:
            raise UserError(
                f"another learner has worked on {self._run} since this one started: start again "
                "to resume from where it stopped"
            )

    def save(self, training: Training, evaluations: PendingEvaluations, feed: Feed) -> None:
        """Save weights, optimiser, clocks and replay as one checkpoint.

        A failure is logged; the checkpoint before stays.

        Raises:
            FloatingPointError: the weights are not finite; the checkpoint before stays, too.
            ReplayLost: replay serves other tables than those that were learned from.
        """
        started = time.monotonic()
        # Losses are checked once in many updates; a checkpoint may come before that.
        training.check_finite()
        try:
            # Actors write on: the clocks of a checkpoint are those of its replay save for what
            # arrives between these two lines.
            feed.count()
            written = self._write(training, evaluations, feed)
        except (OSError, SaveFailed, ReplayTimeout) as error:
            logging.getLogger(__name__).error("no checkpoint written: %s", error)
            self.failure = str(error) or type(error).__name__
            self._metrics.checkpoint_failed()
        else:
            self.number, self.saved, self.failure = written.number, written.record.progress, ""
            seconds = time.monotonic() - started
            logging.getLogger(__name__).info("%s written in %.1f s", written.path, seconds)
            self._metrics.checkpoint_saved(written.number, seconds=seconds, written_at=time.time())

    def _write(
        self, training: Training, evaluations: PendingEvaluations, feed: Feed
    ) -> RunCheckpoint:
        number = next_number(self._run, after=self.number)
        # Replay saves first: until this checkpoint is whole, any that is there may be restored.
        feed.save(number, keep=sorted({*checkpoints_of(self._run).numbers(), self.number}))
        record, due = evaluations.state()
        return write_checkpoint(
            self._run,
            training.state,
            record,
            number,
            keep=[self.number],
            due={one.version: one.params for one in due},
        )

    def loss_without(self, progress: Progress) -> str:
        """What is lost if no checkpoint holds this progress, in words."""
        kept = 0 if self.saved is None else self.saved.learner_updates
        return (
            f"updates {kept + 1} to {progress.learner_updates} are lost, since no checkpoint can "
            f"be written: {self.failure}; the newest checkpoint has {kept} updates"
        )


def _number(checkpoint: RunCheckpoint | None) -> int:
    return checkpoint.number if checkpoint is not None else 0
