"""Means and differences of what episodes are judged by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.bench.report.episode_metrics import episode_metrics
from services.bench.results import TEACHER, EpisodeRow, Results, read_results, write_results


def rows(entry: str, seed: int, *values: float) -> list[EpisodeRow]:
    return [EpisodeRow(entry, "balloon", seed, "twr50", at, one) for at, one in enumerate(values)]


STUDENTS = [*rows("qdagger", 0, 0.2, 0.6), *rows("qdagger", 1, 0.4, 0.8)]


def test_a_student_is_compared_with_the_teacher_episode_by_episode() -> None:
    found = episode_metrics([*rows(TEACHER, 0, 0.3, 0.8), *STUDENTS], ["qdagger", "none"], 500)
    (row,) = found.to_dict("records")
    assert (row["entry"], row["game"], row["metric"]) == ("qdagger", "balloon", "twr50")
    assert (row["seeds"], row["episodes"]) == (2, 2)
    # (0.2 + 0.6 + 0.4 + 0.8) / 4; the teacher (0.3 + 0.8) / 2; -0.1, -0.2, 0.1 and 0 in the mean.
    assert row["mean"] == pytest.approx(0.5)
    assert row["teacher"] == pytest.approx(0.55)
    assert row["difference"] == pytest.approx(-0.05)
    # The extremes that resampling can give: the worst run's worst episode alone, and the best's.
    assert row["low"] == pytest.approx(0.2) and row["high"] == pytest.approx(0.8)
    assert row["difference_low"] == pytest.approx(-0.2)
    assert row["difference_high"] == pytest.approx(0.1)


def test_without_the_teachers_episodes_there_is_no_difference() -> None:
    (row,) = episode_metrics(STUDENTS, ["qdagger"], 10).to_dict("records")
    assert row["mean"] == pytest.approx(0.5)
    assert np.isnan([row["teacher"], row["difference"], row["difference_low"]]).all()
    assert episode_metrics([], ["qdagger"], 10).empty


def test_rows_of_episodes_are_read_back_and_go_with_them(tmp_path: Path) -> None:
    kept = Results(evaluations=(), references=(), episodes=tuple(STUDENTS))
    write_results(tmp_path, kept)
    assert read_results(tmp_path) == kept
    write_results(tmp_path, Results(evaluations=(), references=()))
    assert read_results(tmp_path).episodes == ()
