"""The tables of a report: statistics of the scores and their intervals, by rliable.

Agarwal et al., 2021, "Deep reinforcement learning at the edge of the statistical precipice"
(arXiv:2108.13264): interquartile means, stratified bootstrap intervals over runs, performance
profiles, probability of improvement. Games are fixed, repetitions are resampled within each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rliable import library, metrics

from services.bench.report.score_arrays import EntryScores, SuiteScores
from services.bench.suite import Suite

Array: TypeAlias = NDArray[np.float64]

Estimates: TypeAlias = NDArray[np.float64]
"""float64 [3, N]: N estimates, and the lower and the upper ends of their 95% intervals."""

CONFIDENCE = 0.95

_THRESHOLDS = 101


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tables:
    """The numbers of a report; `low` and `high` are the ends of 95% intervals.

    The entry with the best final score comes first, in all of them.

    Attributes:
        labels: Entry -> its name in figures and tables: its label, and its number of games if it
            has fewer than the suite.
        iqm_curve: entry, frames, games, seeds, iqm, low, high.
        performance_profiles: entry, threshold, share, low, high.
        improvement: entry, games, seeds, probability (to score above the teacher), low, high.
        games: entry, game, frames, seeds, mean_return, low, high, random_return, teacher_return.
        resamples: Number of bootstrap resamples for each interval.
    """

    labels: Mapping[str, str]
    iqm_curve: pd.DataFrame
    performance_profiles: pd.DataFrame
    improvement: pd.DataFrame
    games: pd.DataFrame
    resamples: int


def compute_tables(suite: Suite, scores: SuiteScores, *, resamples: int) -> Tables:
    """Compute everything that a report shows.

    Args:
        suite: The suite, with the labels of the entries.
        scores: Scores of the entries.
        resamples: Number of bootstrap resamples for each interval, at least 1.
    """
    best = max(float(entry.final.max()) for entry in scores.entries)
    # From the random policy to a little above the best run, and at least above the teacher.
    thresholds = np.linspace(0.0, max(1.2, 1.05 * best), _THRESHOLDS)
    curves = {one.entry: estimate(one.scores, iqm, resamples) for one in scores.entries}
    ordered = sorted(scores.entries, key=lambda one: -curves[one.entry][0, -1])
    curve, profiles, improvement, games = [], [], [], []
    for one in ordered:
        size = {name: one.facts[name] for name in ("games", "seeds")}
        keys = {"entry": one.entry, "frames": one.frames, **size}
        curve.append(_table(keys, "iqm", curves[one.entry]))
        found = estimate(one.final, share_above(thresholds), resamples)
        profiles.append(_table({"entry": one.entry, "threshold": thresholds}, "share", found))
        found = estimate(one.final, improvement_over_teacher, resamples)
        improvement.append(_table({"entry": one.entry, **size}, "probability", found))
        for index, game in enumerate(one.games):
            # rliable takes [R, G, P]: one game each.
            found = estimate(one.returns[:, [index]], metrics.aggregate_mean, resamples)
            keys = {"entry": one.entry, "game": game, "frames": one.frames, "seeds": size["seeds"]}
            scale = scores.references[game]
            ends = {"random_return": scale.random_return, "teacher_return": scale.teacher_return}
            games.append(_table(keys, "mean_return", found).assign(**ends))
    return Tables(
        labels={one.entry: _label(suite, one) for one in ordered},
        iqm_curve=pd.concat(curve),
        performance_profiles=pd.concat(profiles),
        improvement=pd.concat(improvement),
        games=pd.concat(games),
        resamples=resamples,
    )


def last_of(table: pd.DataFrame, *keys: str) -> pd.DataFrame:
    """The last row of each entry, and of each value of further keys: that of the final weights."""
    return table.groupby(["entry", *keys], sort=False).tail(1)


def _table(keys: dict[str, Any], name: str, estimates: Estimates) -> pd.DataFrame:
    return pd.DataFrame({**keys, name: estimates[0], "low": estimates[1], "high": estimates[2]})


def _label(suite: Suite, one: EntryScores) -> str:
    label, games = suite.label_of(one.entry), len(one.games)
    # With fewer games than the others, the entry's task is not the same.
    return label if games == len(suite.games) else f"{label} ({games}/{len(suite.games)} games)"


def iqm(scores: Array) -> Array:
    """Interquartile mean over all runs at each point: the mean of the middle half of the scores.

    Args:
        scores: float64 [R, G, P].

    Returns:
        float64 [P].
    """
    return np.array([metrics.aggregate_iqm(scores[..., at]) for at in range(scores.shape[-1])])


def share_above(thresholds: Array) -> Callable[[Array], Array]:
    """Performance profile: float64 [R, G] -> share of runs above each of N thresholds, float64 [N].

    It is rliable's `score_distributions`, which takes thresholds one by one.
    """
    return lambda final: (final[..., np.newaxis] > thresholds).mean(axis=(0, 1))


def improvement_over_teacher(final: Array) -> Array:
    """Probability that a run scores above its teacher, averaged over games; a tie counts half.

    It is rliable's `probability_of_improvement` over one run of the teacher, whose score is 1; that
    function takes milliseconds, and every resample calls it.

    Args:
        final: float64 [R, G], teacher-normalised.

    Returns:
        float64 [1], in [0, 1].
    """
    wins = (np.sign(final - 1.0) + 1.0) / 2.0
    return np.array([wins.mean(axis=0).mean()])


def estimate(scores: Array, statistic: Callable[[Array], Array], resamples: int) -> Estimates:
    """A statistic with its stratified bootstrap interval, deterministic.

    Args:
        scores: float64 [R, G, ...]; the R runs of each game are resampled.
        statistic: From scores to N numbers.
        resamples: Bootstrap resamples, at least 1.
    """
    # rliable 1.2.0 ignores its `random_state`, and draws from NumPy's global generator.
    state = np.random.get_state()
    np.random.seed(0)
    try:
        point, interval = library.get_interval_estimates(
            {"": scores}, statistic, reps=resamples, confidence_interval_size=CONFIDENCE
        )
    finally:
        np.random.set_state(state)
    return np.vstack([point[""], interval[""]])
