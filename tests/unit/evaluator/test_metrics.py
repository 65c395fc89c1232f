from __future__ import annotations

from prometheus_client import CollectorRegistry

from services.evaluator.metrics import EvaluatorMetrics


def test_the_students_newest_evaluation_is_shown_and_the_teachers_only_counted() -> None:
    registry = CollectorRegistry()
    metrics = EvaluatorMetrics(registry)
    value = registry.get_sample_value
    assert value("rrl_evaluator_mean_return") is None
    metrics.stepped(8)
    metrics.stepped(4)
    metrics.finished_episode()
    metrics.evaluated(mean_return=3.0, weights_version=0)
    assert value("rrl_evaluator_mean_return") is None
    metrics.evaluated(mean_return=0.5, weights_version=11)
    metrics.evaluated(mean_return=0.75, weights_version=21)
    counted = ("evaluations", "frames", "episodes")
    assert [value(f"rrl_evaluator_{what}_total") for what in counted] == [3, 12, 1]
    assert value("rrl_evaluator_mean_return") == 0.75
    assert value("rrl_evaluator_weights_version") == 21
