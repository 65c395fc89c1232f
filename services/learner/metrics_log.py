"""Metrics of updates, averaged over a stretch of updates and written to TensorBoard.

They are fetched from the device once per stretch, so that updates do not wait for it. A full disk
costs points of the curves, no more.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from jax.typing import ArrayLike

from rrl_agents.training.update_step import UpdateMetrics
from rrl_agents.types import Progress
from services.learner.tensorboard import ScalarWriter


class MetricsLog:
    """Averages and writes metrics.

    Args:
        folder: Where event files go.
        period_updates: Updates per stretch, at least: it ends with a block of updates.
        resumed_at: Updates of a resumed run at its start; None for a fresh one.

    Attributes:
        losses: Mean of each term's unweighted loss over the last stretch.
        updates_per_second: Rate over the last stretch.
        answered_share: Share of the last stretch's rows with an answer of the teacher; None before
            it.
    """

    def __init__(self, folder: Path, *, period_updates: int, resumed_at: int | None) -> None:
        self._folder = folder
        self._writer: ScalarWriter | None = None
        self._has_failed = False
        self._resumed_at = resumed_at
        self._period_updates = period_updates
        self._stretch: list[tuple[UpdateMetrics, int]] = []
        self._answered: list[float] = []
        self._began = time.monotonic()
        self.losses: Mapping[str, float] = {}
        self.updates_per_second = 0.0
        self.answered_share: float | None = None

    def add(
        self,
        progress: Progress,
        metrics: UpdateMetrics,
        *,
        answered: Sequence[float],
        learning_rate: float,
    ) -> None:
        """Add a block of updates; writes when the stretch is full.

        Args:
            progress: Clocks after the updates.
            metrics: Of the updates, with the leading axis K; as many count as shares are given.
            answered: Shares of their rows with an answer of the teacher, each in [0, 1].
            learning_rate: Of the next update.

        Raises:
            FloatingPointError: a loss is not finite.
        """
        self._stretch.append((metrics, len(answered)))
        self._answered.extend(answered)
        if len(self._answered) < self._period_updates:
            return
        blocks: list[UpdateMetrics] = [
            jax.tree.map(lambda rows, made=made: rows[:made], jax.device_get(metrics))
            for metrics, made in self._stretch
        ]
        losses = {
            name: _mean([block.term_losses[name] for block in blocks])
            for name in blocks[0].term_losses
        }
        if not all(math.isfinite(loss) for loss in losses.values()):
            raise FloatingPointError(
                f"losses {losses} are not finite after {progress.learner_updates} updates: start "
                "another run with a lower learning rate"
            )
        now = time.monotonic()
        self.updates_per_second = len(self._answered) / max(now - self._began, 1e-9)
        self.losses = losses
        self.answered_share = float(np.mean(self._answered))
        self._write(
            progress.learner_updates,
            {
                **{f"loss/{name}": loss for name, loss in losses.items()},
                "loss/total": _mean([block.loss for block in blocks]),
                "learner/mean_best_value": _mean([block.mean_best_value for block in blocks]),
                "learner/learning_rate": learning_rate,
                "learner/updates_per_second": self.updates_per_second,
                "learner/weaning_weight": progress.weaning_weight,
                "replay/answered_share": self.answered_share,
                "replay/actor_steps": progress.actor_steps,
                "replay/teacher_steps": progress.teacher_steps,
                **_scores(progress),
            },
        )
        self._stretch, self._answered, self._began = [], [], now

    def close(self) -> None:
        """Write the rest to disk, as far as there is room."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
            self._writer = None

    def _write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write a point, if there is room; a failure is logged once until it works again."""
        try:
            if self._writer is None:
                # Opened at the first write: a learner that finds another one at work must leave its
                # files alone. Later, a new file follows a broken one, whose last record is lost.
                self._writer = ScalarWriter(self._folder, resumed_step=self._resumed_at)
            self._writer.write(step, scalars)
            self._has_failed = False
        except OSError as error:
            if not self._has_failed:
                logging.getLogger(__name__).error("no metrics written: %s", error)
            self._has_failed = True
            self.close()
        self._resumed_at = step


def _mean(of_blocks: Sequence[ArrayLike]) -> float:
    """Mean over the updates of all blocks, which may differ in size."""
    return float(np.mean(np.concatenate([np.atleast_1d(values) for values in of_blocks])))


def _scores(progress: Progress) -> dict[str, float]:
    """Returns that are known."""
    known = {
        "score/student_return": progress.student_return,
        "score/teacher_return": progress.teacher_return,
        "score/random_return": progress.random_return,
    }
    return {tag: value for tag, value in known.items() if value is not None}
