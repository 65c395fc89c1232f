"""What the scores say, and how sure that is: rliable's statistics on arranged scores.

Agarwal et al., 2021, "Deep reinforcement learning at the edge of the statistical precipice"
(arXiv:2108.13264): interquartile means, stratified bootstrap intervals over runs, performance
profiles, probability of improvement. Games are fixed, repetitions are resampled within each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from rliable import library, metrics

from services.bench.report.scores import EntryScores, SuiteScores
from services.bench.results import ReferenceRow
from services.bench.suite import Suite

Array: TypeAlias = NDArray[np.float64]

Estimates: TypeAlias = NDArray[np.float64]
"""float64 [3, N]: N estimates, and the lower and the upper ends of their 95% intervals."""

CONFIDENCE = 0.95

_THRESHOLDS = 101


@dataclasses.dataclass(frozen=True, kw_only=True)
class EntryStatistics:
    """The statistics of one entry.

    Attributes:
        label: What figures and tables call it: its label, and its games where it has fewer than
            the suite.
        place: Of the entry in the suite, from 0.
        scores: What they are computed from.
        iqm: At each of the entry's points; the last is the final one.
        profile: At each of the suite's thresholds.
        improvement: Over the teacher; one estimate.
        games: Game -> mean return at each point.
    """

    label: str
    place: int
    scores: EntryScores
    iqm: Estimates
    profile: Estimates
    improvement: Estimates
    games: Mapping[str, Estimates]

    @property
    def has_intervals(self) -> bool:
        """Whether there is anything to resample: one run of each game has no interval."""
        return self.scores.repetitions > 1

    @property
    def final_iqm(self) -> Estimates:
        """Of the final weights; one estimate."""
        return self.iqm[:, -1:]

    def in_words(self, estimates: Estimates) -> str:
        """The last estimate, with its interval where there is one."""
        point, low, high = estimates[:, -1]
        return f"{point:.2f} ({low:.2f} to {high:.2f})" if self.has_intervals else f"{point:.2f}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuiteStatistics:
    """The statistics of a suite.

    Attributes:
        entries: The best final score first.
        references: Game -> what its scores are measured by.
        thresholds: float64 [N], of the performance profiles.
        resamples: Bootstrap resamples behind every interval.
    """

    entries: tuple[EntryStatistics, ...]
    references: Mapping[str, ReferenceRow]
    thresholds: Array
    resamples: int


def compute_statistics(suite: Suite, scores: SuiteScores, *, resamples: int) -> SuiteStatistics:
    """Compute everything that a report shows.

    Args:
        suite: Labels and order of the entries.
        scores: What there is of them.
        resamples: Bootstrap resamples behind every interval, at least 1.
    """
    best = max(float(entry.final.max()) for entry in scores.entries)
    # From chance to a little beyond the best run; at least to beyond the teacher.
    thresholds = np.linspace(0.0, max(1.2, 1.05 * best), _THRESHOLDS)
    names = list(suite.entries)
    entries = [
        EntryStatistics(
            label=_label(suite, entry),
            place=names.index(entry.entry),
            scores=entry,
            iqm=estimate(entry.scores, iqm, resamples),
            profile=estimate(entry.final, share_above(thresholds), resamples),
            improvement=estimate(entry.final, improvement_over_teacher, resamples),
            games={
                # rliable takes [R, G, P]: one game each.
                game: estimate(entry.returns[:, [index]], metrics.aggregate_mean, resamples)
                for index, game in enumerate(entry.games)
            },
        )
        for entry in scores.entries
    ]
    return SuiteStatistics(
        entries=tuple(sorted(entries, key=lambda entry: -entry.iqm[0, -1])),
        references=scores.references,
        thresholds=thresholds,
        resamples=resamples,
    )


def _label(suite: Suite, entry: EntryScores) -> str:
    label, games = suite.label_of(entry.entry), len(entry.games)
    # Fewer games than the others: not the same task.
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
    """A statistic with its stratified bootstrap interval, the same each time.

    Args:
        scores: float64 [R, G, ...]; the R runs of each game are resampled.
        statistic: From scores to N numbers.
        resamples: Bootstrap resamples, at least 1.
    """
    # rliable 1.2.0 draws from numpy's global generator whatever `random_state` it is given.
    state = np.random.get_state()
    np.random.seed(0)
    try:
        point, interval = library.get_interval_estimates(
            {"": scores}, statistic, reps=resamples, confidence_interval_size=CONFIDENCE
        )
    finally:
        np.random.set_state(state)
    return np.vstack([point[""], interval[""]])
