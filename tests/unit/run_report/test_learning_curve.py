from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from services.run_report.curve_drawing import draw_learning_curve
from services.run_report.learning_curve import CurvePoint, LearningCurve, split_stages


def point(offline: int, online: int, frames: int, weight: float | None = None) -> CurvePoint:
    return CurvePoint(
        offline_updates=offline,
        online_updates=online,
        frames=frames,
        mean_return=1.0,
        low=0.0,
        high=2.0,
        episodes=5,
        weaning_weight=weight,
    )


def test_the_last_offline_point_is_where_the_online_curve_starts() -> None:
    points = [point(0, 0, 0), point(10, 0, 0), point(10, 5, 40), point(10, 9, 80)]
    offline, online = split_stages(points)
    assert offline == (points[0], points[1])
    assert online == (points[1], points[2], points[3])


def test_a_run_from_scratch_has_no_offline_part() -> None:
    points = [point(0, 0, 0), point(0, 5, 40)]
    assert split_stages(points) == ((), (points[0], points[1]))


def test_a_run_still_offline_has_no_online_part() -> None:
    points = [point(0, 0, 0), point(10, 0, 0)]
    assert split_stages(points) == ((points[0], points[1]), ())


@pytest.mark.parametrize(
    ("student", "baseline"),
    [
        ([point(0, 0, 0)], []),
        ([point(0, 0, 0, 1.0), point(10, 0, 0, 1.0)], []),
        ([point(0, 0, 0), point(10, 0, 0)], [point(0, 5, 40), point(0, 5, 40)]),
        ([point(10, 0, 0, 1.0), point(10, 5, 40, 0.5)], [point(0, 5, 40)]),
        ([point(0, 5, 40)], []),
    ],
)
def test_every_shape_of_run_can_be_drawn(
    tmp_path: Path, student: list[CurvePoint], baseline: list[CurvePoint]
) -> None:
    curve = LearningCurve(
        title="a title",
        student_label="student",
        student=student,
        baseline_label="baseline",
        baseline=baseline,
        teacher_return=3.0,
        random_return=-1.0,
    )
    draw_learning_curve(curve, tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as image:
        image.load()
        assert image.format == "PNG"
