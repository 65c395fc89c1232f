"""Averages the metrics of updates over a stretch of updates, and sends them to the run's trackers.

Metrics are read from the device once per stretch, so that updates do not wait for the device.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.typing import ArrayLike

from rrl_agents.training.update_step import UpdateMetrics
from rrl_agents.types import Progress
from services.tracking.run_tracking import RunTracking


class MetricsLog:
    """Averages and sends metrics.

    Args:
        tracking: The run's trackers; `close` closes them, too.
        period_updates: Fewest updates of a stretch, which ends at the end of a block.

    Attributes:
        losses: Term -> mean of its unweighted loss over the last stretch.
        updates_per_second: Rate over the last stretch.
        answered_share: Share of the last stretch's rows that the teacher has labelled, in [0, 1];
            None before the first stretch ends.
    """

    def __init__(self, tracking: RunTracking, *, period_updates: int) -> None:
        self._tracking = tracking
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
        """Add a block of updates, and send the averages if the stretch is complete.

        Args:
            progress: Clocks after the updates.
            metrics: Metrics with the leading axis K; only the first `len(answered)` count.
            answered: Share of the rows that the teacher has labelled, in [0, 1], for each update.
            learning_rate: Learning rate of the next update.

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
        self._tracking.scalars(
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
        """Close the trackers, which write what they still hold."""
        self._tracking.close()


def _mean(of_blocks: Sequence[ArrayLike]) -> float:
    """Mean over the updates of all blocks, which may differ in size."""
    return float(np.mean(np.concatenate([np.atleast_1d(values) for values in of_blocks])))


def _scores(progress: Progress) -> dict[str, float]:
    """The returns that are known, by name of the metric."""
    known = {
        "score/student_return": progress.student_return,
        "score/teacher_return": progress.teacher_return,
        "score/random_return": progress.random_return,
    }
    return {tag: value for tag, value in known.items() if value is not None}
