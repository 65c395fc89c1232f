"""What the scores say, and how sure that is: rliable's statistics on arranged scores.

Agarwal et al., 2021, "Deep reinforcement learning at the edge of the statistical precipice"
(arXiv:2108.13264): interquartile means, stratified bootstrap intervals over runs, performance
profiles, probability of improvement. Games are fixed, repetitions are resampled within each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from rliable import library, metrics

Array: TypeAlias = NDArray[np.float64]

_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """Estimates with their 95% intervals.

    Attributes:
        point: float64 [N].
        low: float64 [N].
        high: float64 [N].
    """

    point: Array
    low: Array
    high: Array

    def rows(self) -> list[tuple[float, float, float]]:
        """Point, low and high of each estimate."""
        return [
            (float(point), float(low), float(high))
            for point, low, high in zip(self.point, self.low, self.high, strict=True)
        ]


def iqm_curve(scores: Array, *, resamples: int) -> Estimate:
    """Interquartile mean over all runs at each point: the mean of the middle half of the scores.

    Args:
        scores: float64 [R, G, P].
        resamples: Bootstrap resamples, at least 1.

    Returns:
        P estimates.
    """

    def iqm(sample: Array) -> Array:
        points = range(sample.shape[-1])
        return np.array([metrics.aggregate_iqm(sample[..., point]) for point in points])

    return _interval(scores, iqm, resamples)


def mean_curve(returns: Array, *, resamples: int) -> Estimate:
    """Mean over the repetitions of one game at each point.

    Args:
        returns: float64 [R, P].
        resamples: Bootstrap resamples, at least 1.

    Returns:
        P estimates.
    """

    def mean(sample: Array) -> Array:
        # One game: [R, 1, P].
        return np.asarray(metrics.aggregate_mean(sample), dtype=np.float64)

    return _interval(returns[:, np.newaxis, :], mean, resamples)


def performance_profile(final: Array, thresholds: Array, *, resamples: int) -> Estimate:
    """Share of runs with a score above each threshold (a score distribution).

    Args:
        final: float64 [R, G].
        thresholds: float64 [N].
        resamples: Bootstrap resamples, at least 1.

    Returns:
        N estimates, in [0, 1].
    """

    def share_above(sample: Array, taus: Array) -> Array:
        # rliable's own score distribution, for all thresholds at once: it takes them one by one.
        return np.asarray((sample[..., np.newaxis] > taus).mean(axis=(0, 1)))

    with _seeded():
        point, interval = library.create_performance_profile(
            {"": final},
            thresholds,
            custom_profile_func=share_above,
            reps=resamples,
            confidence_interval_size=_CONFIDENCE,
        )
    low, high = interval[""]
    return Estimate(point=point[""], low=low, high=high)


def improvement_over_teacher(final: Array, *, resamples: int) -> Estimate:
    """Probability that a run scores above its teacher, averaged over games; a tie counts half.

    Args:
        final: float64 [R, G], teacher-normalised: the teacher's own score is 1.
        resamples: Bootstrap resamples, at least 1.

    Returns:
        One estimate, in [0, 1].
    """

    def probability(students: Array) -> Array:
        # A comparison with one number has as many outcomes as runs, and rliable's test takes
        # milliseconds: each is asked for once.
        sides = np.sort(np.sign(students - 1.0), axis=0)
        return np.array([np.mean([_above_zero(tuple(game)) for game in sides.T])])

    return _interval(final, probability, resamples)


@functools.cache
def _above_zero(sides: tuple[float, ...]) -> float:
    """Probability that one of these is above 0, a tie counted half."""
    students = np.array(sides)[:, np.newaxis]
    return float(metrics.probability_of_improvement(students, np.zeros((1, 1))))


def _interval(scores: Array, statistic: Callable[[Array], Array], resamples: int) -> Estimate:
    with _seeded():
        point, interval = library.get_interval_estimates(
            {"": scores},
            statistic,
            reps=resamples,
            confidence_interval_size=_CONFIDENCE,
        )
    low, high = interval[""]
    return Estimate(point=point[""], low=low, high=high)


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """The same intervals from the same scores.

    rliable 1.2.0 draws from numpy's global generator whatever `random_state` it is given.
    """
    state = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)
