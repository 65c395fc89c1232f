"""Everything a report shows, computed once from the arranged scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from services.bench.report.scores import EntryScores, SuiteScores
from services.bench.report.statistics import (
    Estimate,
    improvement_over_teacher,
    iqm_curve,
    mean_curve,
    performance_profile,
)

_THRESHOLDS = 101


@dataclasses.dataclass(frozen=True, kw_only=True)
class EntryAggregates:
    """What one entry comes to.

    Attributes:
        scores: What it is computed from.
        iqm: At each of the entry's points; the last is the final one.
        profile: At each of the report's thresholds.
        improvement: Over the teacher; one estimate.
        games: Game -> mean return at each point.
    """

    scores: EntryScores
    iqm: Estimate
    profile: Estimate
    improvement: Estimate
    games: Mapping[str, Estimate]

    @property
    def entry(self) -> str:
        """Its name."""
        return self.scores.entry

    @property
    def has_intervals(self) -> bool:
        """Whether there is anything to resample: one run of each game has no interval."""
        return self.scores.repetitions > 1

    @property
    def final_iqm(self) -> tuple[float, float, float]:
        """Point, lower and upper end, of the final weights."""
        return float(self.iqm.point[-1]), float(self.iqm.low[-1]), float(self.iqm.high[-1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Aggregates:
    """What a suite comes to.

    Attributes:
        entries: The best final score first.
        thresholds: float64 [N], of the performance profiles.
        resamples: Bootstrap resamples behind every interval.
    """

    entries: tuple[EntryAggregates, ...]
    thresholds: NDArray[np.float64]
    resamples: int


def aggregate(suite: SuiteScores, *, resamples: int) -> Aggregates:
    """Compute everything.

    Args:
        suite: Arranged scores.
        resamples: Bootstrap resamples behind every interval, at least 1.
    """
    best = max(float(entry.final.max()) for entry in suite.entries)
    # From chance to a little beyond the best run; at least to beyond the teacher.
    thresholds = np.linspace(0.0, max(1.2, 1.05 * best), _THRESHOLDS)
    entries = [_entry(entry, thresholds, resamples) for entry in suite.entries]
    return Aggregates(
        entries=tuple(sorted(entries, key=lambda entry: -entry.final_iqm[0])),
        thresholds=thresholds,
        resamples=resamples,
    )


def _entry(entry: EntryScores, thresholds: NDArray[np.float64], resamples: int) -> EntryAggregates:
    return EntryAggregates(
        scores=entry,
        iqm=iqm_curve(entry.scores, resamples=resamples),
        profile=performance_profile(entry.final, thresholds, resamples=resamples),
        improvement=improvement_over_teacher(entry.final, resamples=resamples),
        games={
            game: mean_curve(entry.returns[:, index], resamples=resamples)
            for index, game in enumerate(entry.games)
        },
    )
