"""Prometheus metrics of an evaluator."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from services.learner.codec import EvaluationReport
from services.shared.compilations import compilations
from services.shared.metrics import counter, gauge, gauges


class EvaluatorMetrics(Collector):
    """The evaluator's metrics; one thread counts.

    Args:
        registry: The registry, without another evaluator's metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._frames = self._episodes = self._evaluations = 0
        self._newest: EvaluationReport | None = None
        compilations()  # Compilations are counted from here on.
        registry.register(self)

    def stepped(self, frames: int) -> None:
        """Count emulator frames."""
        self._frames += frames

    def finished_episode(self) -> None:
        """Count a finished episode, of the student or the teacher."""
        self._episodes += 1

    def evaluated(self, report: EvaluationReport) -> None:
        """Count an evaluation that the learner has accepted; the student's newest is shown."""
        self._evaluations += 1
        if report.weights_version > 0:
            self._newest = report

    def collect(self) -> Iterator[Metric]:
        """The page's content."""
        newest = self._newest
        yield counter("rrl_evaluator_frames", "Emulator frames played.", self._frames)
        yield counter("rrl_evaluator_episodes", "Episodes played to their end.", self._episodes)
        yield counter(
            "rrl_evaluator_evaluations", "Evaluations taken by the learner.", self._evaluations
        )
        yield counter(
            "rrl_evaluator_compilations",
            "Programs that XLA compiled in this process; after the first minute, none.",
            compilations(),
        )
        yield gauge(
            "rrl_evaluator_mean_return",
            "Mean return of the student's newest evaluation.",
            None if newest is None else newest.mean_return,
        )
        yield gauges(
            "rrl_evaluator_mean_metric",
            "What else the environment judges episodes by, mean of that evaluation.",
            "metric",
            {} if newest is None else newest.mean_metrics,
        )
        yield gauge(
            "rrl_evaluator_weights_version",
            "Weights that played in it.",
            None if newest is None else newest.weights_version,
        )
