"""Normalised scores, and confidence intervals of means.

Returns are undiscounted sums of raw rewards per episode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

BOOTSTRAP_RESAMPLES = 10_000
"""Resamples per interval; its ends then vary by about 1% of its width between seeds."""


def check_scale(random_return: float, teacher_return: float) -> None:
    """Refuse a teacher that cannot serve as the scale of scores.

    Args:
        random_return: Mean return of the uniformly random policy.
        teacher_return: Mean return of the teacher, under the same protocol.

    Raises:
        ValueError: When the teacher is no better than the random policy: scores would be undefined,
            or have the wrong sign.
    """
    if not teacher_return > random_return:
        raise ValueError(
            f"the teacher returns {teacher_return:g}, no more than the random policy's "
            f"{random_return:g}: there is no scale to measure students on; use a teacher that "
            "plays better than chance"
        )


def normalised_score(mean_return: float, random_return: float, teacher_return: float) -> float:
    """Teacher-normalised score: 0 is the random policy, 1 the teacher (Agarwal et al., 2022).

    Args:
        mean_return: Mean return of the player.
        random_return: Mean return of the uniformly random policy.
        teacher_return: Mean return of the teacher, under the same protocol.

    Raises:
        ValueError: As `check_scale`.
    """
    check_scale(random_return, teacher_return)
    return (mean_return - random_return) / (teacher_return - random_return)


def score_if_known(
    mean_return: float | None, random_return: float | None, teacher_return: float | None
) -> float | None:
    """`normalised_score` for a display: None where a return is unknown or there is no scale."""
    if mean_return is None or random_return is None or teacher_return is None:
        return None
    if not teacher_return > random_return:
        return None
    score = normalised_score(mean_return, random_return, teacher_return)
    return score if math.isfinite(score) else None


def mean_and_interval(returns: Sequence[float]) -> tuple[float, float, float]:
    """Mean of the returns of one game with its 95% percentile-bootstrap interval (Efron, 1979).

    For one game and one run this is rliable's stratified bootstrap (Agarwal et al., 2021,
    arXiv:2108.13264): there is one stratum. The same returns always give the same interval.

    Args:
        returns: Return of each episode, at least one.

    Returns:
        Mean, lower and upper end of the interval, in units of return.

    Raises:
        ValueError: When there are no returns.
    """
    if len(returns) == 0:
        raise ValueError("there are no returns to average; play at least one episode")
    values = np.asarray(returns, dtype=np.float64)
    generator = np.random.default_rng(0)
    draws = generator.integers(len(values), size=(BOOTSTRAP_RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return float(values.mean()), float(low), float(high)
