"""Publishes the training weights to actors and to the evaluator."""

from __future__ import annotations

import contextlib

from rrl_agents.types import Stage
from services.learner.feed import Feed
from services.learner.pending_evaluations import PendingEvaluations
from services.learner.published_weights import PublishedWeights, Snapshot
from services.learner.run_clock import RunClock
from services.learner.training import Training
from services.replay.failures import ReplayTimeout


class WeightPublisher:
    """Publishes snapshots of one training state.

    Args:
        clock: Progress of the run.
        training: Holds the weights.
        feed: Replay, whose step counts and largest priority a snapshot carries.
        evaluations: Receives the weights to evaluate.

    Attributes:
        acting: The weights that actors fetch.
    """

    def __init__(
        self,
        clock: RunClock,
        training: Training,
        feed: Feed,
        evaluations: PendingEvaluations,
    ) -> None:
        self._clock = clock
        self._training = training
        self._feed = feed
        self._evaluations = evaluations
        self.acting = PublishedWeights()

    def publish(self) -> None:
        """Publish the present weights to actors."""
        largest = max(self._clock.progress.max_priority, self._feed.largest_priority)
        self._clock.change(max_priority=largest)
        snapshot = self._snapshot()
        self.acting.publish(snapshot)
        self._clock.change(weights_version=snapshot.version)

    def request_evaluation(self) -> None:
        """Request an evaluation of the present weights, with the clocks of this moment."""
        with contextlib.suppress(ReplayTimeout):
            # The last count may be a second old. If replay does not answer, use that one.
            self._feed.count()
        self._evaluations.request(self._snapshot())

    def _snapshot(self) -> Snapshot:
        progress = self._clock.progress
        return Snapshot(
            # The weights before the first update are version 1.
            version=progress.learner_updates + 1,
            params=self._training.params(),
            progress=progress,
            seconds=self._clock.seconds,
            sessions=(self._evaluations.session,),
            final=progress.stage is Stage.FINAL_EVALUATION,
        )
