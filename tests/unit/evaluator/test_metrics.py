from __future__ import annotations

from prometheus_client import CollectorRegistry

from services.evaluator.metrics import EvaluatorMetrics
from services.learner.codec import EvaluationReport


def test_the_students_newest_evaluation_is_shown_and_the_teachers_only_counted() -> None:
    registry = CollectorRegistry()
    metrics = EvaluatorMetrics(registry)
    value = registry.get_sample_value
    assert value("rrl_evaluator_mean_return") is None
    metrics.stepped(8)
    metrics.stepped(4)
    metrics.finished_episode()
    metrics.evaluated(_report(0, 3.0, 0.375))
    assert value("rrl_evaluator_mean_return") is None
    metrics.evaluated(_report(11, 0.5, 0.25))
    metrics.evaluated(_report(21, 0.75, 0.125))
    counted = ("evaluations", "frames", "episodes")
    assert [value(f"rrl_evaluator_{what}_total") for what in counted] == [3, 12, 1]
    assert value("rrl_evaluator_mean_return") == 0.75
    assert value("rrl_evaluator_mean_metric", {"metric": "twr50"}) == 0.125
    assert value("rrl_evaluator_weights_version") == 21


def _report(version: int, mean_return: float, twr50: float) -> EvaluationReport:
    """Of two episodes, each off the mean by as much as the other."""
    return EvaluationReport(
        weights_version=version,
        episode_returns=(mean_return - 1, mean_return + 1),
        episode_steps=(4, 4),
        epsilon=0.0,
        episode_metrics={"twr50": (twr50 - 0.0625, twr50 + 0.0625)},
    )
