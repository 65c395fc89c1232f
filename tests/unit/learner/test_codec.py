from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl_agents.types import Progress, Stage
from services.learner.codec import (
    EvaluationReport,
    progress_from_proto,
    progress_to_proto,
    report_from_proto,
    report_to_proto,
)
from services.learner.v1 import learner_pb2

COUNTS = st.integers(0, 2**63)
STEPS = st.integers(1, 2**40)
RETURNS = st.floats(-1e6, 1e6)


@given(
    st.builds(
        Progress,
        random_return=RETURNS,
        teacher_return=st.none() | RETURNS,
        student_return=st.none() | RETURNS,
        online_return=st.none() | RETURNS,
        stage=st.sampled_from(Stage),
        teacher_steps=COUNTS,
        offline_updates=COUNTS,
        online_updates=COUNTS,
        actor_steps=COUNTS,
        weaning_weight=st.floats(0, 1),
        weights_version=COUNTS,
        evaluations=COUNTS,
    )
)
def test_progress_survives_the_wire(progress: Progress) -> None:
    encoded = progress_to_proto(progress).SerializeToString()
    assert progress_from_proto(learner_pb2.Progress.FromString(encoded)) == progress


@given(st.lists(st.tuples(RETURNS, STEPS), min_size=1), st.floats(0, 1), COUNTS)
def test_a_report_survives_the_wire(
    episodes: list[tuple[float, int]], epsilon: float, version: int
) -> None:
    report = EvaluationReport(
        weights_version=version,
        episode_returns=tuple(r for r, _ in episodes),
        episode_steps=tuple(s for _, s in episodes),
        epsilon=epsilon,
        episode_metrics={"twr50": tuple(r / 2 for r, _ in episodes)},
    )
    encoded = report_to_proto(report).SerializeToString()
    decoded = report_from_proto(learner_pb2.ReportEvaluationRequest.FromString(encoded))
    assert decoded == report


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(ValueError, match="0 is not a valid Stage"):
        progress_from_proto(learner_pb2.Progress())


REPORT = EvaluationReport(
    weights_version=1, episode_returns=(1.0, 2.0), episode_steps=(10, 20), epsilon=0.001
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"episode_returns": (), "episode_steps": ()}, "0 episode_returns"),
        ({"episode_steps": (1,)}, "2 episode_returns and 1 episode_steps"),
        ({"episode_steps": (10, 0)}, "at least 1 step, found 0"),
        ({"episode_returns": (1.0, float("nan"))}, "must be finite"),
        ({"epsilon": 1.5}, "epsilon is 1.5; use a number at least 0 and at most 1"),
    ],
)
def test_a_report_that_no_evaluator_can_have_played_is_refused(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(REPORT, **change)  # type: ignore[arg-type]


def test_the_mean_return_is_over_episodes() -> None:
    # (1 + 2) / 2
    assert REPORT.mean_return == np.float64(1.5)
