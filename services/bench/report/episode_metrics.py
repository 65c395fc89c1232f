"""A table of what an environment judges episodes by beside the return, e.g. the balloon's TWR50."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.bench.results import TEACHER, EpisodeRow

_ENDS = (2.5, 97.5)
"""Percentiles that a 95% interval ends at."""


def episode_metrics(
    rows: Sequence[EpisodeRow], entries: Sequence[str], resamples: int
) -> pd.DataFrame:
    """Means over the episodes of final weights, with 95% intervals.

    Runs and episodes are resampled independently: with fixed seeds, all runs of an entry have the
    same episodes, and a hard episode is hard for all of them.

    Args:
        rows: The suite's rows.
        entries: Names of the entries, in the order of the table.
        resamples: Number of bootstrap resamples, at least 1.

    Returns:
        Columns entry, game, metric, seeds, episodes, mean, low, high; and, if the teacher has
        played the same episodes, teacher (its mean), difference, difference_low and difference_high
        (of the student's values minus the teacher's). Empty if there are no rows.
    """
    if not rows:
        return pd.DataFrame()
    frame = pd.DataFrame([vars(row) for row in rows])
    teachers = (
        frame[frame["entry"] == TEACHER]
        .set_index(["game", "metric", "episode"])["value"]
        .sort_index()
    )
    table = []
    for entry in entries:
        of_entry = frame[frame["entry"] == entry]
        for (game, metric), found in of_entry.groupby(["game", "metric"], sort=False):
            values = found.pivot(index="seed", columns="episode", values="value").to_numpy(float)
            keys = {"entry": entry, "game": game, "metric": metric}
            teacher = teachers.get((game, metric))
            table.append(keys | _row(values, teacher, resamples))
    return pd.DataFrame(table)


def _row(
    values: NDArray[np.float64], teacher: pd.Series[float] | None, resamples: int
) -> dict[str, Any]:
    """Numbers of one entry's values [R, E] and the teacher's [at least E], if there are any."""
    runs, episodes = values.shape
    means = _resampled_means(values, resamples)
    low, high = np.percentile(means, _ENDS)
    row = {"seeds": runs, "episodes": episodes, "mean": values.mean(), "low": low, "high": high}
    missing = dict.fromkeys(("teacher", "difference", "difference_low", "difference_high"), np.nan)
    if teacher is None or len(teacher) < episodes:
        return row | missing
    same = teacher.to_numpy(float)[:episodes]
    low, high = np.percentile(_resampled_means(values - same, resamples), _ENDS)
    return row | {
        "teacher": same.mean(),
        "difference": (values - same).mean(),
        "difference_low": low,
        "difference_high": high,
    }


def _resampled_means(values: NDArray[np.float64], resamples: int) -> NDArray[np.float64]:
    """Means of [R, E] with runs and episodes drawn with replacement, the same each time."""
    random, (runs, episodes) = np.random.default_rng(0), values.shape
    chosen_runs = random.integers(runs, size=(resamples, runs, 1))
    chosen_episodes = random.integers(episodes, size=(resamples, 1, episodes))
    drawn: NDArray[np.float64] = values[chosen_runs, chosen_episodes].mean(axis=(1, 2))
    return drawn
