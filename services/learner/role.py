"""The learner as a separate process, which trains from replay over the network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from prometheus_client import CollectorRegistry

from services.learner.config import LearnerConfig
from services.learner.loop import Learner, train_to_the_end
from services.learner.metrics import LearnerMetrics
from services.learner.replay_feed import ReplayFeed


def build_learner(config: LearnerConfig) -> Learner:
    """Make the learner of a run, restored from the newest checkpoint if there is one."""
    return Learner(config, ReplayFeed)


def run_learner(
    config: LearnerConfig, stop: threading.Event, metrics: LearnerMetrics | None = None
) -> None:
    """Train a run until it is finished or `stop` is set; if replay loses its tables, resume.

    Args:
        config: Settings of the learner.
        stop: Ends the run early.
        metrics: The process's metrics; None if they are not served.

    Raises:
        UserError: as `Learner.run`; or replay has no tables for any of the run's checkpoints.
        FloatingPointError: as `Learner.run`.
    """
    metrics = metrics or LearnerMetrics(CollectorRegistry())

    def start(unusable: Collection[int]) -> tuple[Learner, Callable[[], None]]:
        learner = Learner(config, ReplayFeed, unusable, metrics)
        return learner, lambda: learner.run(stop)

    train_to_the_end(start, config.run, stop, metrics)
