"""Saves and restores the checkpoints of one run, for its learner."""

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
    """Saves checkpoints of a run, and tracks the newest.

    Args:
        run: Folder of the run.
        unusable: Numbers of checkpoints to skip, because replay cannot load their tables.
        metrics: Counts the checkpoints.

    Attributes:
        restored: The checkpoint to resume from; None for a run that starts from scratch.
        number: Number of the newest checkpoint; 0 if there is none.
        saved: Progress of the newest checkpoint; None if there is none.
        failure: Why the last attempt to save failed; empty if it succeeded.

    Raises:
        UserError: there are checkpoints, but none is usable.
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
        """Check that the restored checkpoint is still the run's newest.

        Raises:
            UserError: another learner saved a checkpoint before this one had the run's lock.
        """
        if _number(newest_checkpoint(self._run, self._unusable)) != self.number:
            raise UserError(
                f"another learner has trained {self._run} since this one started: start again to "
                "resume from the checkpoint that it saved"
            )

    def save(self, training: Training, evaluations: PendingEvaluations, feed: Feed) -> None:
        """Save weights, optimiser, clocks and replay as one checkpoint.

        A failure is logged; the previous checkpoint stays.

        Raises:
            FloatingPointError: the weights are not finite; the previous checkpoint stays.
            ReplayLost: replay serves other tables than those that the learner trained on.
        """
        started = time.monotonic()
        # Losses are checked only once per stretch of updates, and may not be finite by now.
        training.check_finite()
        try:
            # Actors continue to write: the checkpoint's clocks miss only the steps that arrive
            # between these two lines.
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
        # Replay saves first, and keeps all others: until this checkpoint is complete, any of them
        # may be restored.
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
        """A message about the updates that are lost if no checkpoint saves this progress."""
        kept = 0 if self.saved is None else self.saved.learner_updates
        return (
            f"updates {kept + 1} to {progress.learner_updates} are lost, since no checkpoint can "
            f"be written: {self.failure}; the newest checkpoint is from update {kept}"
        )


def _number(checkpoint: RunCheckpoint | None) -> int:
    return checkpoint.number if checkpoint is not None else 0
